// SPDX-License-Identifier: BSD-3-Clause
// A run that is followed from outside: its metrics.jsonl as it grows. Only reads, and takes no lock: the run does not
// notice.
#pragma once

#include "apps/bench_report.hpp"
#include "runtime/core/ids.hpp"
#include "runtime/train/disk_file.hpp"

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::apps {

struct WatchedRun {
  std::string folder;
  Index step = 0;                // done; 0: none is logged yet
  std::optional<Index> steps{};  // planned, by the run's config.ini
  std::optional<double> loss{};  // of the last step; nothing where it was no number
  std::optional<double> held_out_loss{};
  Index held_out_step = 0;
  double tokens_per_s = 0.0;     // mean of the last steps
  double step_s = 0.0;           // so
  double drop_rate = 0.0;        // so, 0 to 1
  Index skipped = 0;             // of the steps that were read
  std::optional<Index> saved{};  // step of the newest checkpoint
  std::vector<Index> curve_steps{};
  std::vector<double> curve{};                                        // losses of these steps
  std::optional<std::chrono::system_clock::time_point> written_at{};  // when the log was last added to
  std::optional<bool> process_runs{};                                 // nothing: that cannot be told from here

  /// All planned steps are done.
  [[nodiscard]] bool is_done() const { return steps && step >= *steps; }
};

class RunFollower {
 public:
  /// Of the run in `folder`. At first the last `window_bytes` of its log are read, not all of a long one.
  explicit RunFollower(std::filesystem::path folder, Index window_bytes = Index{4} << 20);

  /// Looks at what is new. A last line without its end is left for the next time; a log that was cut, or replaced, is
  /// read anew. InputError where the log cannot be read; one that is not there yet is an empty one.
  const WatchedRun& look();

 private:
  void read_anew(Index size);
  void read_on(const train::DiskFile& file, Index size);
  void take(std::string_view line);
  void take_step(Index step, const Json& record);
  void look_around();

  /// What the status needs of a step.
  struct Step {
    Index step = 0;
    double tokens = 0.0;
    double seconds = 0.0;
    double claims = 0.0;
    double dropped = 0.0;
  };

  std::filesystem::path folder_;
  Index window_bytes_;
  Index offset_ = 0;           // of the file, up to which it was read
  std::string before_offset_;  // the bytes just before, by which a log that was cut and has grown again is noticed
  std::vector<Step> last_;     // steps
  WatchedRun run_;
};

/// One line: "step 120/2000  loss 2.3112  held out 2.2873 (step 100)  5321 tokens/s  dropped 1.2 %  saved step 100  18
/// min 20 s left".
[[nodiscard]] std::string status_line(const WatchedRun& run);
/// The same as lines for a terminal of `width` columns, with the curve of the loss.
[[nodiscard]] std::vector<std::string> status_lines(const WatchedRun& run, Index width);

}  // namespace conclave::apps
