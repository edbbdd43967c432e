// SPDX-License-Identifier: BSD-3-Clause
#include "apps/stop_signal.hpp"

#include "runtime/core/error.hpp"

#include <signal.h>

#include <array>
#include <atomic>

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
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

extern "C" void keep_signal(int signal) {
  int none = 0;
  first_signal.compare_exchange_strong(none, signal);
  if (signal != SIGINT || !was_interrupted.exchange(true)) return;
  ::signal(SIGINT, SIG_DFL);
  ::raise(SIGINT);  // takes effect when this handler returns
}

}  // namespace

void keep_stop_signals() {
  sigset_t all;
  sigemptyset(&all);
  for (const StopSignal& stop : stop_signals) {
    struct sigaction before {};
    sigaction(stop.number, nullptr, &before);
    if (stop.number == SIGINT && before.sa_handler == SIG_IGN) continue;
    struct sigaction action {};
    action.sa_handler = keep_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    invariant(sigaction(stop.number, &action, nullptr) == 0, "no handler for {}", stop.name);
    sigaddset(&all, stop.number);
  }
  sigprocmask(SIG_UNBLOCK, &all, nullptr);
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
