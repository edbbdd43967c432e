// SPDX-License-Identifier: BSD-3-Clause
// The executable: settles what must be settled before MPI, reads the command line, calls the command, and sees to it
// that an error is told once and ends every rank. Exit codes: failure.hpp.
#include "apps/command.hpp"
#include "apps/command_line.hpp"
#include "apps/failure.hpp"
#include "apps/launch.hpp"
#include "apps/option_text.hpp"
#include "apps/progress.hpp"
#include "apps/stage_limit.hpp"
#include "apps/stop_signal.hpp"
#include "comm/mpi/environment.hpp"
#include "runtime/core/cpu.hpp"
#include "runtime/core/gemm.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/train/agreed.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace conclave::apps {
namespace {

// The root reads for all, so that all ranks have the same configuration even where only one sees the file.
std::string read_file_together(const comm::Communicator& world, const std::string& path) {
  std::string text;
  train::on_root(world, [&] { text = read_file(path); });
  return world.broadcast(text);
}

// A call that is ready to run.
struct ReadyCall {
  std::unique_ptr<CommandCall> call;
  Session session;
};

// Throws the same InputError on every rank.
ReadyCall prepare(const std::vector<std::string>& words, const comm::Communicator& world, const BlasChoice& blas) {
  check_launcher(world.size());
  const auto digest = static_cast<std::int64_t>(std::hash<std::string>{}(fmt::format("{}", fmt::join(words, "\n"))));
  if (world.max(digest) != world.min(digest)) {
    throw InputError("the ranks were started with different command lines", "start all of them with the same one");
  }
  const CalledCommand called = called_command(words);
  ReadyCall ready{called.command.call(), {world, blas, {}, {}, {}}};
  OptionSections options;
  ready.call->describe(options);
  const auto read = [&](const std::string& path) { return read_file_together(world, path); };
  ParsedLine line = parse_command_line(called.words, !called.command.arguments.empty(), options, read);
  ready.session.arguments = std::move(line.arguments);
  ready.session.given = std::move(line.given);
  ready.session.from_file = std::move(line.from_file);
  return ready;
}

int run(const std::vector<std::string>& words, const comm::Communicator& world, const BlasChoice& blas,
        std::optional<StageWatch>& watch) {
  std::optional<ReadyCall> ready;
  try {
    ready.emplace(prepare(words, world, blas));
  } catch (const InputError& error) {
    if (world.is_root()) print_error("conclave", error);
    return wrong_use;
  }
  watch.reset();  // a command watches itself
  const int exit_code = ready->call->run(ready->session);
  // What was printed may have got stuck on a full disk.
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    throw InputError(fmt::format("cannot write to the standard output: {}", std::strerror(errno)),
                     "check the space where it is redirected to");
  }
  return exit_code;
}

int main_under_mpi(int argc, char** argv, const std::vector<std::string>& words, const BlasChoice& blas) {
  const StageWatch::Settings limit = stage_limit(words);
  std::optional<StageWatch> watch(std::in_place, limit, "MPI_Init");
  comm::Environment environment(argc, argv);
  watch->enter("the reading of its options");
  const comm::Communicator& world = environment.world();
  try {
    make_blas_single_threaded();
    const plan::Topology topology = world.topology();
    use_threads(default_threads(static_cast<Index>(topology.ranks(topology.node(world.rank())).size())));
    const int exit_code = run(words, world, blas, watch);
    watch.emplace(limit, "MPI_Finalize, its work done,");
    return exit_code;
  } catch (const std::exception& error) {
    return fail_job(world, "conclave " + words.front(), error);
  }
}

int main(int argc, char** argv) {
  if (const auto missing = missing_cpu_feature()) {
    fmt::print(stderr,
               "conclave: this program was built for a CPU with {}, which this one lacks\n  hint: build with "
               "-DCONCLAVE_ARCH set to the oldest CPU it shall run on, e.g. x86-64-v3\n",
               *missing);
    return failure;
  }
  const std::vector<std::string> words(argv + 1, argv + argc);
  try {
    if (const auto text = help_text(words, terminal_width(stdout))) {
      if (launched_rank() == 0) fmt::print("{}", *text);
      return 0;
    }
    if (keeps_stop_signals(words)) keep_stop_signals();
    const BlasChoice blas = settle_blas_kernel(argv);
    set_mpi_defaults();
    return main_under_mpi(argc, argv, words, blas);
  } catch (const std::exception& error) {
    print_error("conclave", error);
    return failure;
  }
}

}  // namespace
}  // namespace conclave::apps

int main(int argc, char** argv) { return conclave::apps::main(argc, argv); }
