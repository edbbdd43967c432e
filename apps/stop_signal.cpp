// SPDX-License-Identifier: BSD-3-Clause
#include "apps/stop_signal.hpp"

#include "runtime/core/error.hpp"

#include <signal.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>

namespace conclave::apps {
namespace {

struct StopSignal {
  int number;
  const char* name;
};
constexpr std::array<StopSignal, 4> stop_signals{
    {{SIGTERM, "SIGTERM"}, {SIGINT, "SIGINT"}, {SIGUSR1, "SIGUSR1"}, {SIGUSR2, "SIGUSR2"}}};

// Handlers may only touch atomics that take no lock.
std::atomic<int> first_signal{0};
std::atomic<bool> was_interrupted{false};
bool keeps = false;
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

extern "C" void keep_signal(int signal) {
  int none = 0;
  first_signal.compare_exchange_strong(none, signal);
  if (signal != SIGINT || !was_interrupted.exchange(true)) return;
  ::signal(SIGINT, SIG_DFL);
  ::raise(SIGINT);  // takes effect when this handler returns
}

sigset_t set_of_stop_signals() {
  sigset_t all;
  sigemptyset(&all);
  for (const StopSignal& stop : stop_signals) sigaddset(&all, stop.number);
  return all;
}

/// The thread that handlers run in: all others of this program have stop signals blocked. oneDNN's kernels keep data
/// below the stack pointer, where the system puts a handler's frame: a handler in the midst of a matrix product makes
/// it write anywhere.
std::jthread& listener() {
  static std::jthread thread;
  return thread;
}

void listen(const std::stop_token& stop, const sigset_t& signals) {
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  wake.wait(lock, stop, [] { return false; });
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

}  // namespace

void keep_stop_signals() {
  keeps = true;
  sigset_t all = set_of_stop_signals();
  for (const StopSignal& stop : stop_signals) {
    struct sigaction before {};
    sigaction(stop.number, nullptr, &before);
    if (stop.number == SIGINT && before.sa_handler == SIG_IGN) {
      sigdelset(&all, SIGINT);
      continue;
    }
    struct sigaction action {};
    action.sa_handler = keep_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    invariant(sigaction(stop.number, &action, nullptr) == 0, "no handler for {}", stop.name);
  }
  pthread_sigmask(SIG_UNBLOCK, &all, nullptr);  // those that wait come now
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  if (!listener().joinable()) listener() = std::jthread(listen, all);
}

// Handlers and their atomics are lost with the program; which signals are blocked and which of those wait is not.
void hand_on_stop_signals() {
  if (!keeps) return;
  listener() = {};  // ends it
  if (const int signal = stop_signal(); signal != 0) ::raise(signal);
}

void take_back_stop_signals() {
  if (keeps) keep_stop_signals();
}

void obey_stop_signals() {
  for (const StopSignal& stop : stop_signals) {
    struct sigaction action {};
    sigaction(stop.number, nullptr, &action);
    if (action.sa_handler == keep_signal) ::signal(stop.number, SIG_DFL);
  }
}

int stop_signal() { return first_signal.load(); }

std::string stop_signal_name(int signal) {
  for (const StopSignal& stop : stop_signals) {
    if (stop.number == signal) return stop.name;
  }
  invariant(false, "signal {} asks no run to stop", signal);
  return {};
}

}  // namespace conclave::apps
