// SPDX-License-Identifier: BSD-3-Clause
#include "tests/fuzz/limited_child.hpp"

#include "runtime/core/clock.hpp"
#include "tests/support/file_content.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <thread>
#include <typeinfo>

namespace conclave::fuzz {
namespace {

/// Pages of this process' address space.
double address_space_bytes() {
  std::ifstream file("/proc/self/statm");
  double pages = 0.0;
  file >> pages;
  return pages * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

void set_limit(int resource, double value) {
  const auto most = static_cast<rlim_t>(value);
  const rlimit limit{most, most};
  ::setrlimit(static_cast<__rlimit_resource>(resource), &limit);
}

void set_limits(const ChildLimits& limits) {
#ifndef __SANITIZE_ADDRESS__  // its shadow is larger than any limit
  set_limit(RLIMIT_AS, address_space_bytes() + limits.memory_bytes);
#endif
  set_limit(RLIMIT_CPU, limits.cpu_s);
  set_limit(RLIMIT_CORE, 0.0);
}

[[noreturn]] void run(const std::function<std::string()>& work, const std::string& file, const ChildLimits& limits) {
  const int id = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
  ::dup2(id, STDERR_FILENO);
  set_limits(limits);
  std::string text;
  int exit_code = 1;
  try {
    text = work();
    exit_code = 0;
    if (::ftruncate(id, 0) != 0) exit_code = 2;
  } catch (const std::exception& error) {
    text = fmt::format("{}: {}", typeid(error).name(), error.what());
  } catch (...) {
    text = "an exception of another kind";
  }
  const bool is_written = ::write(id, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ::_exit(is_written ? exit_code : 2);
}

}  // namespace

ChildEnding in_child(const std::function<std::string()>& work, const std::string& scratch_file,
                     const ChildLimits& limits) {
  std::fflush(nullptr);  // or the child would print again what waits to be printed
  const pid_t child = ::fork();
  using How = ChildEnding::How;
  if (child < 0) return {How::died, fmt::format("cannot fork: {}", std::strerror(errno))};
  if (child == 0) run(work, scratch_file, limits);
  const Clock::time_point start = Clock::now();
  int status = 0;
  for (auto pause = std::chrono::microseconds(200); ::waitpid(child, &status, WNOHANG) == 0;) {
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::microseconds(20000));
    if (seconds_since(start) < limits.wall_s) continue;
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
    return {How::died, fmt::format("no end in {} s: {}", limits.wall_s, test::content_of(scratch_file))};
  }
  if (WIFEXITED(status)) {
    return {WEXITSTATUS(status) == 0 ? How::done : How::threw, test::content_of(scratch_file)};
  }
  return {How::died, fmt::format("ended by signal {} ({}): {}", WTERMSIG(status), ::strsignal(WTERMSIG(status)),
                                 test::content_of(scratch_file))};
}

}  // namespace conclave::fuzz
