// SPDX-License-Identifier: BSD-3-Clause
// The command `watch`: how a run stands that goes on elsewhere, again and again until it ends.
#include "apps/command.hpp"
#include "apps/progress.hpp"
#include "apps/run_follower.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/train/agreed.hpp"

#include <fmt/chrono.h>
#include <unistd.h>

#include <cstdio>
#include <thread>

namespace conclave::apps {
namespace {

struct WatchOptions {
  bool once = false;
  std::optional<Duration> every;
  Duration silent_after{60.0};
};

void describe(WatchOptions& o, OptionSections& sections) {
  OptionTable& table = sections.section("Watching");
  table.add("once", o.once, "tell how the run stands now, and end");
  table.add("every", o.every, "time between looks at the run; auto: 2 s on a terminal, 30 s elsewhere");
  table.add("silent_after", o.silent_after,
            "a log that nothing was added to for so long, and for three steps, is called silent");
}

using SystemClock = std::chrono::system_clock;

double seconds_since_written(const WatchedRun& run) {
  return run.written_at ? std::chrono::duration<double>(SystemClock::now() - *run.written_at).count() : 0.0;
}

// "nothing was logged for 3 min 20 s, since 2026-01-01 12:00:00 UTC", or nothing.
std::string silence_text(const WatchedRun& run, const WatchOptions& o) {
  const double seconds = seconds_since_written(run);
  if (!run.written_at || seconds < std::max(o.silent_after.seconds, 3.0 * run.step_s)) return "";
  return fmt::format("silent: nothing was logged for {}, since {:%Y-%m-%d %H:%M:%S} UTC", time_text(seconds),
                     fmt::gmtime(SystemClock::to_time_t(*run.written_at)));
}

// Why there will be nothing more to see, or nothing.
std::string end_text(const WatchedRun& run) {
  constexpr double settling_s = 10.0;  // a log is written every few seconds; the last evaluation may take longer
  if (!run.written_at || run.process_runs.value_or(false)) return "";
  if (run.is_done()) {
    if (!run.process_runs && seconds_since_written(run) < settling_s) return "";
    return fmt::format("the run has ended: all {} steps are done", *run.steps);
  }
  if (!run.process_runs || seconds_since_written(run) < settling_s) return "";
  return fmt::format("the run has ended after step {}: its process is gone; it goes on with conclave train --resume {}",
                     run.step, run.folder);
}

/// Shows the state: in place of the last one on a terminal, else a line each time that it has changed.
class Screen {
 public:
  void show(const WatchedRun& run, const std::string& silence) {
    if (isatty(STDOUT_FILENO) == 1) {
      rewrite(run, silence);
    } else {
      const std::string line = silence.empty() ? status_line(run) : status_line(run) + "  " + silence;
      if (run.step != shown_step_ || silence.empty() != was_heard_) fmt::print("{}\n", line);
    }
    shown_step_ = run.step;
    was_heard_ = silence.empty();
    std::fflush(stdout);
  }

 private:
  void rewrite(const WatchedRun& run, const std::string& silence) {
    const Index width = terminal_width(stdout);
    std::vector<std::string> lines = status_lines(run, width);
    if (!silence.empty()) lines.push_back("  " + silence);
    if (lines_ > 0) fmt::print("\033[{}A\r\033[J", lines_);
    for (const std::string& line : lines) fmt::print("{}\n", line);
    lines_ = lines.size();
  }

  std::size_t lines_ = 0;
  Index shown_step_ = -1;
  bool was_heard_ = true;
};

void watch(const WatchOptions& o, const std::string& folder) {
  if (!std::filesystem::is_directory(folder)) {
    throw InputError(fmt::format("there is no folder '{}'", folder), "name the folder that conclave train writes into");
  }
  RunFollower follower(folder);
  Screen screen;
  const bool on_terminal = isatty(STDOUT_FILENO) == 1;
  const std::chrono::duration<double> pause(o.every ? o.every->seconds : on_terminal ? 2.0 : 30.0);
  while (true) {
    const WatchedRun& run = follower.look();
    const std::string ended = end_text(run);
    screen.show(run, ended.empty() ? silence_text(run, o) : "");
    if (!ended.empty()) fmt::print("{}\n", ended);
    if (o.once || !ended.empty()) return;
    std::this_thread::sleep_for(pause);
  }
}

int run(const WatchOptions& o, const Session& session) {
  if (session.arguments.size() != 1) {
    throw InputError(fmt::format("watch of {} runs", session.arguments.size()),
                     "name the folder of one run: conclave watch RUN");
  }
  if (o.every && o.every->seconds < 0.1) {
    throw InputError(fmt::format("every = {} s", o.every->seconds), "give at least 0.1 s");
  }
  train::on_root(session.world, [&] { watch(o, session.arguments.front()); });
  return 0;
}

}  // namespace

Command watch_command() {
  return make_command<WatchOptions>("watch", "how a run stands that goes on elsewhere, until it ends; only reads",
                                    "RUN", describe, run);
}

}  // namespace conclave::apps
