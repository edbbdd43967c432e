// SPDX-License-Identifier: BSD-3-Clause
// What a report says of studies of scaling, and of predictions beside what was measured.
#pragma once

#include "apps/recorded_run.hpp"
#include "apps/report_page.hpp"
#include "apps/scaling_study.hpp"

#include <optional>
#include <span>

namespace conclave::apps {

struct StudyOfScaling {
  std::string name;                  // its path, as it was given
  std::vector<ScalingPoint> points;  // by kind, then ranks
};

/// The study in a folder (points.jsonl, scaling.json or scaling.csv, the first that is there), or in such a file:
/// `conclave bench scaling` writes them. Nothing if `path` is neither. InputError for a file that holds something else.
[[nodiscard]] std::optional<StudyOfScaling> study_of_scaling(const std::string& path);

/// A step on a number of ranks as `conclave simulate run` has priced it.
struct PredictedPoint {
  Index ranks = 0;
  double step_s = 0.0;
  double low_s = 0.0;
  double high_s = 0.0;
  double exposed_s = 0.0;
  double imbalance_s = 0.0;
};

/// A run that `conclave simulate validate` has priced.
struct PredictedRun {
  std::string run;
  Index ranks = 0;
  bool held_out = true;
  double measured_s = 0.0;
  double predicted_s = 0.0;
};

/// One of the two, the other is empty.
struct Predictions {
  std::string name;  // the file's path, as it was given
  Index tokens = 0;  // of a predicted step
  std::vector<PredictedPoint> points{};
  std::vector<PredictedRun> runs{};
};

/// InputError for a file that is none that `simulate run --json` or `simulate validate --json` has printed.
[[nodiscard]] Predictions read_predictions(const std::string& path);

/// Speed-up and efficiency beside the ideal, and the experts' products beside all else. `number`: among the report's
/// studies, for the names of its pictures.
[[nodiscard]] PageSection scaling_section(const StudyOfScaling& study, std::size_t number);
/// Predicted steps beside those of the runs that have as many tokens a step.
[[nodiscard]] PageSection prediction_section(const Predictions& predictions, std::span<const RecordedRun> runs,
                                             std::size_t number);

}  // namespace conclave::apps
