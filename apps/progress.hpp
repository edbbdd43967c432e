// SPDX-License-Identifier: BSD-3-Clause
// How far a long run has come: one line that is rewritten on a terminal, a line now and then in a log.
#pragma once

#include "runtime/core/ids.hpp"

#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>

namespace conclave::apps {

/// Columns of the terminal that `stream` writes to; 100 if it is none.
[[nodiscard]] Index terminal_width(std::FILE* stream);

/// Whether stderr is a terminal, where progress is looked at as it is made.
[[nodiscard]] bool is_watched();

/// A time span for people: "8 s", "3 min 20 s", "5 h 12 min", "2 d 4 h".
[[nodiscard]] std::string time_text(double seconds);

/// How far a run of `total` steps has come that began (or was resumed) after `first` of them, `elapsed_s` seconds ago:
/// "step 120/1000  loss 2.31  8 min 20 s left", of at most `width` columns. The time left is shown once a step has been
/// done.
[[nodiscard]] std::string progress_text(Index first, Index step, Index total, double elapsed_s, std::string_view text,
                                        Index width);

/// Shows a run's progress on stderr. On a terminal the line is rewritten, at most ten times a second; elsewhere a line
/// is written at most every 30 s, and for the last step.
class Progress {
 public:
  /// The run does steps (first_step, total_steps]; `enabled` is false on all ranks but one.
  Progress(Index first_step, Index total_steps, bool enabled);
  /// Ends a line that is still open.
  ~Progress() { finish(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Step number `step` has been done; `text` says how it went ("loss 2.31  12000 tokens/s").
  void update(Index step, std::string_view text);
  /// A line of its own, always shown: a checkpoint, a warning.
  void note(std::string_view text);
  /// Leaves the last state on the screen and goes to the next line.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;

  Index first_step_;
  Index total_steps_;
  bool enabled_;
  bool live_;               // stderr is a terminal
  bool line_open_ = false;  // the cursor stands behind a progress line
  std::string last_text_;   // the newest state, shown or not
  bool last_is_shown_ = true;
  Clock::time_point start_;
  Clock::time_point next_;  // nothing is shown before
};

}  // namespace conclave::apps
