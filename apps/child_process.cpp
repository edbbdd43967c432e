// SPDX-License-Identifier: BSD-3-Clause
#include "apps/child_process.hpp"

#include "runtime/core/clock.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace conclave::apps {
namespace {

// Starts the program with its output into `write_end`; returns 0 or the error. Spawned and not forked: a copy of this
// process, even for an instant, would share the pages that the network may be writing into.
int spawn(const std::vector<std::string>& words, int write_end, pid_t& child) {
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, write_end, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&files, write_end, STDERR_FILENO);
  // Signals that this program blocks are none of the child's business.
  posix_spawnattr_t attributes;
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  posix_spawnattr_setsigmask(&attributes, &none);
  const int error = posix_spawnp(&child, arguments[0], &files, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  return error;
}

// Reads to the end; false if that has not come by `deadline`.
bool read_until(int read_end, Clock::time_point deadline, std::string& output) {
  std::array<char, 4096> buffer{};
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    pollfd wait{read_end, POLLIN, 0};
    const int ready = ::poll(&wait, 1, static_cast<int>(std::min<long long>(left, 1000)));
    if (ready <= 0) continue;  // not yet, or a signal came
    const ssize_t size = ::read(read_end, buffer.data(), buffer.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return true;
    output.append(buffer.data(), static_cast<std::size_t>(size));
  }
}

}  // namespace

ChildOutcome run_child(const std::vector<std::string>& words, double limit_s) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return {-1, fmt::format("no pipe: {}", std::strerror(errno))};
  pid_t child = 0;
  const int error = spawn(words, ends[1], child);
  ::close(ends[1]);
  if (error != 0) {
    ::close(ends[0]);
    return {-1, std::strerror(error)};
  }
  ChildOutcome outcome;
  const auto limit = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(limit_s));
  const bool has_ended = read_until(ends[0], Clock::now() + limit, outcome.output);
  ::close(ends[0]);
  if (!has_ended) ::kill(child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!has_ended) return {-1, fmt::format("no answer in {} s", limit_s)};
  constexpr const char* blanks = " \t\r\n";
  outcome.output.erase(outcome.output.find_last_not_of(blanks) + 1);
  outcome.output.erase(0, outcome.output.find_first_not_of(blanks));
  if (WIFEXITED(status)) outcome.exit_code = WEXITSTATUS(status);
  return outcome;
}

}  // namespace conclave::apps
