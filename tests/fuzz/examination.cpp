// SPDX-License-Identifier: BSD-3-Clause
#include "tests/fuzz/examination.hpp"

#include "apps/command.hpp"
#include "apps/command_line.hpp"
#include "runtime/train/checkpoint_folder.hpp"
#include "tests/support/file_content.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

namespace conclave::fuzz {
namespace {

namespace fs = std::filesystem;

/// What is printed while it lives goes into a file.
class Output {
 public:
  explicit Output(fs::path file) : file_(std::move(file)) {
    std::fflush(stdout);
    before_ = ::dup(STDOUT_FILENO);
    const int id = ::open(file_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    ::dup2(id, STDOUT_FILENO);
    ::close(id);
  }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  ~Output() {
    std::fflush(stdout);
    ::dup2(before_, STDOUT_FILENO);
    ::close(before_);
  }
  [[nodiscard]] std::string text() const {
    std::fflush(stdout);
    return test::content_of(file_);
  }

 private:
  fs::path file_;
  int before_ = -1;
};

}  // namespace

Finding call(const std::vector<std::string>& words, const fs::path& said, const comm::Communicator& world,
             const apps::BlasChoice& blas) {
  const apps::CalledCommand called = apps::called_command(words);
  const std::unique_ptr<apps::CommandCall> command = called.command.call();
  apps::OptionSections options;
  command->describe(options);
  apps::Session session{world, blas, {}, {}, {}};
  session.given = apps::parse_command_line(called.words, false, options).given;
  const Output output(said);
  try {
    const int exit_code = command->run(session);
    return {exit_code != 0, fmt::format("exit code {}\n{}", exit_code, output.text())};
  } catch (const InputError& error) {
    return {true, fmt::format("{} ({})", error.what(), error.hint())};
  }
}

std::vector<Finding> examine(const fs::path& checkpoint, const fs::path& scratch, const comm::Communicator& world,
                             const apps::BlasChoice& blas) {
  const fs::path run = scratch / "run";
  const fs::path said = scratch / fmt::format("said-{}", world.rank().value());
  if (world.is_root()) fs::remove_all(run);
  world.barrier();
  const std::string file = checkpoint.string();
  const Index next = train::step_of(checkpoint).value_or(0) + 1;
  std::vector<Finding> findings;
  findings.push_back(call({"inspect", "--verify", file}, said, world, blas));
  findings.push_back(call({"inspect", "--digests", "--checkpoint", file}, said, world, blas));
  findings.push_back(call({"evaluate", "--threads", "1", "--sequences", "2", "--checkpoint", file}, said, world, blas));
  Finding resumed = call({"train", "--resume", file, "--out", run.string(), "--threads", "1", "--stop-after",
                          fmt::format("{}", next), "--hang-timeout", "0"},
                         said, world, blas);
  // What was printed tells of times.
  if (!resumed.is_refused) resumed.result = test::content_of(train::checkpoint_path(run, next));
  findings.push_back(resumed);
  return findings;
}

}  // namespace conclave::fuzz
