// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/stage_watch.hpp"

#include "runtime/core/clock.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>

namespace conclave {
namespace {

constexpr double look_every_s = 0.1;

}  // namespace

StageWatch::StageWatch(Settings settings, const char* stage) : settings_(std::move(settings)), stage_(stage) {
  if (settings_.limit_s > 0.0) thread_ = std::jthread([this](const std::stop_token& stop) { watch(stop); });
}

void StageWatch::watch(const std::stop_token& stop) const {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  const char* stage = nullptr;
  double waited_s = 0.0;
  Clock::time_point last = Clock::now();
  while (waited_s <= settings_.limit_s) {
    wake.wait_for(lock, stop, std::chrono::duration<double>(look_every_s), [] { return false; });
    if (stop.stop_requested()) return;
    const double since_s = seconds_since(last);
    last = Clock::now();
    waited_s = stage == stage_.load() ? waited_s + std::min(since_s, 5.0 * look_every_s) : 0.0;
    stage = stage_.load();
  }
  fmt::print(
      stderr,
      "{} has been in {} for {:.0f} s: it waits for ranks that have not come\n"
      "  hint: see whether all ranks run and their nodes reach each other; --hang-timeout sets how long they may "
      "take\n",
      settings_.who, stage, waited_s);
  std::fflush(stderr);
  std::_Exit(settings_.exit_code);
}

}  // namespace conclave
