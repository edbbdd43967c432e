// SPDX-License-Identifier: BSD-3-Clause
// Predictions held against runs: each run is priced from its own options and the loads that it logged, and the price
// compared with what its steps took.
#pragma once

#include "apps/measured_training.hpp"
#include "apps/result_table.hpp"
#include "apps/training_simulation.hpp"

namespace conclave::apps {

struct ValidationOptions {
  std::vector<std::string> machine;
  std::string cluster;
};

void describe(ValidationOptions& o, OptionTable& table);

struct ValidatedRun {
  MeasuredTraining measured;
  sim::TrainingPrice price{};
  double parameters = 0.0;  // of the model, and tokens of a step: runs that have them in common are what-ifs
  Index tokens = 0;         // of one another
  bool is_held_out = true;  // no step of this kind was among those that calibrations are fitted to
  /// Predicted over measured, less 1.
  [[nodiscard]] double error() const { return price.step_s / measured.run.step_s - 1.0; }
  /// What a phase's error is of the measured step.
  [[nodiscard]] double error_of_step(Phase phase) const;
  [[nodiscard]] bool is_within() const {
    return price.low_s <= measured.run.step_s && measured.run.step_s <= price.high_s;
  }
};

/// What is to be reached: half of the held-out runs within `median`, 9 of 10 within `most`, and of pairs of what-ifs so
/// many ranked rightly.
struct ValidationTargets {
  double median = 0.05;
  double most = 0.10;
  double ranked = 0.90;
};

/// Over the held-out runs.
struct ValidationSummary {
  Index runs = 0;
  double median = 0.0;  // of the errors' sizes
  double most = 0.0;    // 9 of 10
  double within = 0.0;  // share of runs within their interval
  Index pairs = 0;      // of runs of one model and as many tokens, which the measurements tell apart
  Index ranked = 0;     // of them those that are predicted in the right order
  [[nodiscard]] bool meets(const ValidationTargets& targets) const;
};

struct Validation {
  ValidationTargets targets;
  std::vector<sim::Provenance> machines{};
  std::vector<ValidatedRun> runs{};
  ValidationSummary summary{};
  std::vector<std::string> warnings{};
};

/// What several calibrations of a machine predict: their mean, and an interval that holds how far they are apart.
/// InvariantError for none.
[[nodiscard]] sim::TrainingPrice mean_of(std::span<const sim::TrainingPrice> prices);

/// The summary of such runs; of none all is 0.
[[nodiscard]] ValidationSummary summary_of(std::span<const ValidatedRun> runs);

/// Prices the runs whose folders are the session's arguments. InputError for a run that has no log or no step, that the
/// simulator does not know, or that was on several nodes while no cluster is described. Collective.
[[nodiscard]] Validation validated(const ValidationOptions& options, const Session& session);

[[nodiscard]] std::string table_text(const Validation& v);
[[nodiscard]] std::string json_text(const Validation& v);
/// A row for each run's step and phases; phases have no interval.
[[nodiscard]] ResultTable table_of(const Validation& v);
[[nodiscard]] std::string picture_text(const Validation& v);

}  // namespace conclave::apps
