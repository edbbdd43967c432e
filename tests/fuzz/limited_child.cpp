// SPDX-License-Identifier: BSD-3-Clause
#include "tests/fuzz/limited_child.hpp"

#include "tests/support/file_content.hpp"

#include <execinfo.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string_view>
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
  // A signal first, which tells where the time goes; the end a little later.
  const rlimit cpu{static_cast<rlim_t>(limits.cpu_s), static_cast<rlim_t>(limits.cpu_s + 5.0)};
  ::setrlimit(RLIMIT_CPU, &cpu);
  set_limit(RLIMIT_CORE, 0.0);
}

constexpr std::string_view calls_at_death = "calls at its death:\n";

/// Writes the calls that the signal met to the standard error, and lets the signal end the process.
void tell_where(int signal) {
  std::array<void*, 64> calls{};
  const int count = ::backtrace(calls.data(), static_cast<int>(calls.size()));
  if (::write(STDERR_FILENO, calls_at_death.data(), calls_at_death.size()) > 0) {
    ::backtrace_symbols_fd(calls.data(), count, STDERR_FILENO);
  }
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

void tell_where_at_death() {
  static std::array<char, 65536> stack;  // the other one may be full
  stack_t other{};
  other.ss_sp = stack.data();
  other.ss_size = stack.size();
  ::sigaltstack(&other, nullptr);
  struct sigaction action {};
  action.sa_handler = tell_where;
  action.sa_flags = SA_ONSTACK | SA_NODEFER;
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGXCPU}) ::sigaction(signal, &action, nullptr);
}

/// The first of the calls that is neither the handler nor the C library's, or what stands before it in sanitizers.
std::string died_in(const std::string& text) {
  const auto at = text.rfind(calls_at_death);
  if (at == std::string::npos) return {};
  std::istringstream calls(text.substr(at + calls_at_death.size()));
  bool is_past_handler = false;  // which the C library called
  for (std::string call; std::getline(calls, call);) {
    const bool is_library = call.find("/libc.so") != std::string::npos;
    if (is_past_handler && !is_library && call.find("/libasan.so") == std::string::npos) return call;
    is_past_handler = is_past_handler || is_library;
  }
  return {};
}

[[noreturn]] void run(const std::function<std::string()>& work, const std::string& file, const ChildLimits& limits) {
  const int id = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
  ::dup2(id, STDERR_FILENO);
  tell_where_at_death();
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
  std::array<void*, 1> call{};
  ::backtrace(call.data(), 1);  // the first one loads a library, which a dying process cannot
  const pid_t child = ::fork();
  using How = ChildEnding::How;
  if (child < 0) return {How::died, fmt::format("cannot fork: {}", std::strerror(errno)), {}};
  if (child == 0) run(work, scratch_file, limits);
  double waited_s = 0.0;  // not by the clock, which goes on while both are stopped
  int status = 0;
  for (auto pause = std::chrono::microseconds(200); ::waitpid(child, &status, WNOHANG) == 0;) {
    std::this_thread::sleep_for(pause);
    waited_s += std::chrono::duration<double>(pause).count();
    pause = std::min(pause * 2, std::chrono::microseconds(20000));
    if (waited_s < limits.wall_s) continue;
    ::kill(child, SIGXCPU);  // it tells where it is
    std::this_thread::sleep_for(std::chrono::seconds(2));
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
    const std::string text = test::content_of(scratch_file);
    return {How::endless, fmt::format("no end in {} s: {}", limits.wall_s, text), died_in(text)};
  }
  if (WIFEXITED(status)) {
    return {WEXITSTATUS(status) == 0 ? How::done : How::threw, test::content_of(scratch_file), {}};
  }
  const std::string text = test::content_of(scratch_file);
  const int signal = WTERMSIG(status);
  return {signal == SIGXCPU ? How::endless : How::died,
          fmt::format("ended by signal {} ({}): {}", signal, ::strsignal(signal), text), died_in(text)};
}

}  // namespace conclave::fuzz
