// SPDX-License-Identifier: BSD-3-Clause
// A run's state as a file for Prometheus: node_exporter's textfile collector reads it (text exposition format 0.0.4).
#pragma once

#include "runtime/core/clock.hpp"
#include "runtime/train/metrics.hpp"

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

namespace conclave::apps {

/// What the file says. Counters are of this start of the program: one that begins at 0 again is told from one that goes
/// on by whoever reads it.
struct RunMetrics {
  std::string run;  // the label of every sample, so that the files of several runs can lie in one folder
  Index step = 0;
  Index steps = 0;  // that the run is to have
  std::optional<double> loss{}, validation_loss{}, learning_rate{}, tokens_per_s{}, time_left_s{};
  Index tokens = 0;
  Index dropped_claims = 0;
  Index unserved_tokens = 0;
  std::array<double, num_phases> phase_s{};  // mean over ranks
  Index checkpoints = 0;
  Index skipped_steps = 0;
  double written_at_s = 0.0;  // Unix time
};

/// The exposition: HELP and TYPE of each metric and its samples; what is not known yet has none.
[[nodiscard]] std::string exposition_text(const RunMetrics& metrics);

/// Keeps such a file of a run up to date; to be used by one rank. A write that fails is told once and stops nothing;
/// others follow.
class MetricsTextfile {
 public:
  using Tell = std::function<void(const std::string&)>;
  /// Of a run in `folder` that goes from `first_step` to `steps`; an empty path is no file. The file is written when
  /// `every_s` have passed, at a first step, and by close.
  MetricsTextfile(std::filesystem::path path, const std::string& folder, Index first_step, Index steps, Tell tell,
                  double every_s = 5.0);

  void add(const train::StepRecord& step);
  void add(const train::Evaluation& evaluation);
  void add_checkpoint() { ++metrics_.checkpoints; }
  /// The run has ended, or is about to.
  void close();

 private:
  void write();

  std::filesystem::path path_;
  RunMetrics metrics_;
  Tell tell_;
  double every_s_;
  Index first_step_;
  Clock::time_point start_ = Clock::now();
  std::optional<Clock::time_point> written_at_{};
  bool has_failed_ = false;
};

}  // namespace conclave::apps
