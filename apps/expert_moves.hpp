// SPDX-License-Identifier: BSD-3-Clause
// When a run's experts are better off on other ranks: by the loads that its steps had and the time that they took.
#pragma once

#include "experts/placement.hpp"
#include "runtime/train/metrics.hpp"
#include "runtime/train/options.hpp"

#include <optional>

namespace conclave::apps {

/// Other places for experts, layer by layer.
struct ExpertMove {
  std::vector<ExpertMap> placement{};  // [MoE layers]
  double before = 1.0;                 // the fullest rank's load over the mean, all layers together
  double after = 1.0;
  double gain_s = 0.0;  // of a step
};

/// The model: ranks meet after the experts of every MoE layer, so a step takes as long as the fullest rank of each; a
/// rank's experts take time in proportion to their rows and parameters. What rows cost on their way is not looked at.
class ExpertMoves {
 public:
  /// Experts begin in even runs. options must be valid and outlive it.
  ExpertMoves(const train::TrainOptions& options, Index num_ranks);

  /// Takes in a step. Skipped ones say nothing.
  void add(const train::StepRecord& step);
  /// What balances the loads since the experts were last moved; nothing where no step was taken in. The same on every
  /// rank that took in the same loads, but for gain_s, which the steps' times make.
  [[nodiscard]] std::optional<ExpertMove> proposal() const;
  /// The experts have been moved so: loads are counted anew.
  void made(const ExpertMove& move);

 private:
  /// Sum over layers of the fullest rank's load.
  [[nodiscard]] double critical_load(const std::vector<ExpertMap>& placement) const;

  Index num_ranks_;
  std::vector<double> weights_;             // [experts] of a row: the expert's parameters
  std::vector<ExpertMap> placement_;        // [MoE layers]
  std::vector<std::vector<double>> loads_;  // [MoE layers][experts] weighted rows since the last move
  double experts_s_ = 0.0;                  // of all ranks together, in those steps
  Index num_steps_ = 0;
};

}  // namespace conclave::apps
