// SPDX-License-Identifier: BSD-3-Clause
#include "tests/fuzz/called_command.hpp"

#include "apps/command.hpp"
#include "apps/command_line.hpp"
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

Finding call(const Words& words, const fs::path& said, const comm::Communicator& world, const apps::BlasChoice& blas) {
  const apps::CalledCommand called = apps::called_command(words);
  const std::unique_ptr<apps::CommandCall> command = called.command.call();
  apps::OptionSections options;
  command->describe(options);
  const apps::ParsedLine line = apps::parse_command_line(called.words, !called.command.arguments.empty(), options);
  const apps::Session session{world, blas, line.arguments, line.given, line.from_file};
  const Output output(said);
  try {
    const int exit_code = command->run(session);
    return {exit_code != 0, fmt::format("exit code {}\n{}", exit_code, output.text())};
  } catch (const InputError& error) {
    return {true, fmt::format("{} ({})", error.what(), error.hint())};
  }
}

}  // namespace conclave::fuzz
