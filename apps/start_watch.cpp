// SPDX-License-Identifier: BSD-3-Clause
#include "apps/start_watch.hpp"

#include "apps/command.hpp"
#include "apps/command_line.hpp"
#include "apps/failure.hpp"
#include "apps/launch.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/core/parse_number.hpp"
#include "runtime/train/watch_options.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>

namespace conclave::apps {
namespace {

constexpr double look_every_s = 0.1;

// "rank 3 of 8 of job 17"
std::string who() {
  std::string text = fmt::format("rank {}", launched_rank());
  for (const char* size : {"OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"}) {
    const auto ranks = environment_number(size);
    if (!ranks) continue;
    text += fmt::format(" of {}", *ranks);
    break;
  }
  for (const char* job : {"SLURM_JOB_ID", "PMIX_NAMESPACE"}) {
    const auto name = environment_variable(job);
    if (!name) continue;
    text += fmt::format(" of job {}", *name);
    break;
  }
  return text;
}

}  // namespace

StartWatch::StartWatch(double limit_s, const char* stage) : stage_(stage) {
  if (limit_s > 0.0) thread_ = std::jthread([this, limit_s](const std::stop_token& stop) { watch(stop, limit_s); });
}

void StartWatch::watch(const std::stop_token& stop, double limit_s) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  const char* stage = nullptr;
  double waited_s = 0.0;
  Clock::time_point last = Clock::now();
  while (waited_s <= limit_s) {
    wake.wait_for(lock, stop, std::chrono::duration<double>(look_every_s), [] { return false; });
    if (stop.stop_requested()) return;
    const double since_s = seconds_since(last);
    last = Clock::now();
    waited_s = stage == stage_.load() ? waited_s + std::min(since_s, 5.0 * look_every_s) : 0.0;
    stage = stage_.load();
  }
  fmt::print(
      stderr,
      "conclave: {} has been in {} for {:.0f} s: it waits for ranks that have not come\n"
      "  hint: see whether all ranks were started and their nodes reach each other; --hang-timeout sets how long "
      "they may take\n",
      who(), stage, waited_s);
  std::fflush(stderr);
  std::_Exit(hung);
}

double start_limit_s(std::span<const std::string> words) {
  const double limit_s = train::WatchOptions().hang_timeout;
  try {
    const CalledCommand called = called_command(words);
    const auto call = called.command.call();
    OptionSections options;
    call->describe(options);
    static_cast<void>(parse_command_line(called.words, true, options));
    const Option* timeout = options.find("hang_timeout");
    if (timeout == nullptr) return limit_s;
    return parse_number<double>(timeout->text()).value_or(limit_s);
  } catch (const InputError&) {
  }
  return limit_s;
}

}  // namespace conclave::apps
