// SPDX-License-Identifier: BSD-3-Clause
// The family of commands `bench`: measures parts of the program on this machine, each beside what it cannot be faster
// than.
#include "apps/bench.hpp"

#include "apps/launch.hpp"
#include "apps/run_record.hpp"
#include "comm/mpi/exchange.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/core/gemm.hpp"
#include "runtime/core/host.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/train/agreed.hpp"

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>

namespace conclave::apps {
namespace {

// Seconds of one of `calls` calls, that all ranks begin together.
double timed(const comm::Communicator& world, const std::function<void()>& thing, Index calls) {
  world.barrier();
  const Clock::time_point start = Clock::now();
  for (Index i = 0; i < calls; ++i) thing();
  return seconds_since(start) / static_cast<double>(calls);
}

// How often a thing of `seconds` is called within a timing, so that the clock and the barrier do not matter.
Index calls_of(double seconds) {
  constexpr double least_s = 2e-3;
  constexpr double most = 10000.0;
  return static_cast<Index>(std::ceil(std::clamp(least_s / std::max(seconds, 1e-9), 1.0, most)));
}

Json options_json(const OptionSections& options) {
  Json object = Json::object();
  for (const Option* option : options.all()) object[option->name] = option->text();
  return object;
}

}  // namespace

std::vector<Timings> timed_in_turn(const comm::Communicator& world, Index repeats, Across across,
                                   const std::vector<std::function<void()>>& things) {
  std::vector<std::vector<double>> seconds(things.size());
  std::vector<Index> calls;
  for (const auto& thing : things) {
    timed(world, thing, 1);  // memory is allocated, pages and caches are warm
    calls.push_back(calls_of(world.max(timed(world, thing, 1))));
  }
  for (Index i = 0; i < repeats; ++i) {
    for (std::size_t k = 0; k < things.size(); ++k) {
      const double mine = timed(world, things[k], calls[k]);
      seconds[k].push_back(across == Across::slowest_rank ? world.max(mine) : mine);
    }
  }
  std::vector<Timings> result;
  for (std::size_t k = 0; k < things.size(); ++k) {
    result.push_back(across == Across::slowest_rank ? Timings{seconds[k]} : of_every_rank(world, seconds[k]));
    result.back().calls = calls[k];
  }
  return result;
}

Timings of_every_rank(const comm::Communicator& world, const std::vector<double>& seconds) {
  return {world.gather_all(std::span<const double>(seconds))};
}

void describe(BenchRun& run, OptionTable& table) {
  table.add("repeats", run.repeats, "timings of each thing, in turn with its floor; what is told is their median");
  table.add("json", run.json, "print one JSON object in place of the table");
  table.add("calibration", run.calibration, "a file to write the JSON object into, as the machine's calibration");
}

void validate(const BenchRun& run, const comm::Communicator& world) {
  if (run.repeats < 1) throw InputError(fmt::format("repeats = {}", run.repeats), "give at least 1");
  refuse_unwritable(world, "calibration", run.calibration);
}

void refuse_unwritable(const comm::Communicator& world, std::string_view option, const std::string& path) {
  if (path.empty()) return;
  train::on_root(world, [&] {
    if (std::ofstream(path, std::ios::app)) return;
    throw InputError(fmt::format("{}: cannot write '{}': {}", option, path, std::strerror(errno)),
                     "check the folder and its rights");
  });
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  if (file.flush()) return;
  throw InputError(fmt::format("cannot write '{}': {}", path, std::strerror(errno)),
                   "check the folder's rights and free space");
}

LoadWatch::LoadWatch(const comm::Communicator& world) {
  double minute = 0.0;
  if (getloadavg(&minute, 1) != 1) minute = 0.0;
  load_ = world.max(minute);
  const plan::Topology topology = world.topology();
  local_ranks_ = world.max(static_cast<Index>(topology.ranks(topology.node(world.rank())).size()));
}

std::vector<std::string> LoadWatch::warnings() const {
  std::vector<std::string> sentences;
  const Index cpus = cpus_for_all_ranks();
  const Index wanted = local_ranks_ * num_threads();
  if (wanted > cpus) {
    sentences.push_back(
        fmt::format("{} ranks x {} threads on {} CPUs: they wait for one another, so the times say little",
                    local_ranks_, num_threads(), cpus));
  }
  if (load_ + static_cast<double>(std::min(wanted, cpus)) > static_cast<double>(cpus) + 0.5) {
    sentences.push_back(
        fmt::format("the machine was busy: load {:.1f} over the minute before, on {} CPUs of which {} are measured on",
                    load_, cpus, wanted));
  }
  return sentences;
}

void LoadWatch::warn() const {
  for (const std::string& warning : warnings()) fmt::print(stderr, "warning: {}\n", warning);
}

void publish(const Report& report, const BenchRun& run, const OptionSections& options, const LoadWatch& load,
             const Session& session) {
  const std::map<std::string, std::string> record = run_record(session);
  train::on_root(session.world, [&] {
    Json object = report_json(report);
    object["machine"] = record;
    object["machine"]["blas_library"] = blas_library();
    object["machine"]["blas_kernel"] = blas_kernel();
    object["machine"]["cores"] = cpus_for_all_ranks();
    object["machine"]["hostname"] = host_name();
    object["load"] = {{"before", load.load()}, {"warnings", load.warnings()}};
    object["options"] = options_json(options);
    const std::string text = object.dump(2) + '\n';
    load.warn();
    fmt::print("{}", run.json ? text : table_text(report));
    if (!run.calibration.empty()) write_file(run.calibration, text);
  });
}

Command bench_command() {
  return {"bench",
          "measure this machine and this MPI, each thing beside what it cannot be faster than",
          "MEASUREMENT",
          {},
          {bench_gemm(), bench_memory(), bench_exchange(), bench_gate(), bench_layer(), bench_step(), bench_reduce(),
           bench_checkpoint(), bench_scaling(), bench_calibrate()}};
}

}  // namespace conclave::apps
