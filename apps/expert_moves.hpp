// SPDX-License-Identifier: BSD-3-Clause
// When a run's experts are better off on other ranks: by the loads that its steps had and the time that they took.
#pragma once

#include "comm/mpi/communicator.hpp"
#include "experts/placement.hpp"
#include "runtime/train/metrics.hpp"
#include "runtime/train/options.hpp"

#include <optional>
#include <string>

namespace conclave::apps {

/// Other places for experts, layer by layer.
struct ExpertMove {
  std::vector<ExpertMap> placement{};  // [MoE layers]
  double before = 1.0;                 // the fullest rank's load over the mean, all layers together
  double after = 1.0;
  double gain_s = 0.0;  // of a step
  Index replicas = 0;   // copies of experts, all layers together
};

/// What it brings, in a clause.
[[nodiscard]] std::string text_of(const ExpertMove& move);

/// What a run has measured that moves are weighed by.
struct MoveRates {
  double load_s = 0.0;     // a row's way through one parameter of its expert, forward and backward
  double element_s = 0.0;  // a parameter's way from one host of an expert to another
};

/// Seconds that a parameter takes from the root to all other ranks, of an expert with `parameters` of them; 0 on one
/// rank. Ranks measure different times. Collective.
[[nodiscard]] double measured_element_s(const comm::Communicator& communicator, Index parameters);

/// The model: ranks meet after the experts of every MoE layer, so a step takes as long as the fullest rank of each; a
/// rank's experts take time in proportion to their rows and parameters. Hosts of an expert share its rows out by
/// segments (experts/row_cut.hpp); replicas send home partial sums of gradients in each pass and get values once a
/// step, and the rank that sends and receives most of that takes the longest. What rows cost on their way is not looked
/// at.
class ExpertMoves {
 public:
  /// Experts begin in even runs. options must be valid and outlive it.
  ExpertMoves(const train::TrainOptions& options, Index num_ranks);

  /// Takes in a step. Skipped ones say nothing.
  void add(const train::StepRecord& step);
  /// What the steps' times say of a load. They are not the same on all ranks: one rank's are for all.
  [[nodiscard]] double load_s() const;
  /// What is best for the loads since the experts were last moved; nothing where no step was taken in. The same on
  /// every rank that took in the same loads and is given the same rates.
  [[nodiscard]] std::optional<ExpertMove> proposal(const MoveRates& rates) const;
  /// The experts have been moved so: loads are counted anew.
  void made(const ExpertMove& move);
  [[nodiscard]] bool makes_replicas() const { return most_replicas_ > 0; }
  /// Of the largest expert.
  [[nodiscard]] Index most_parameters() const;

 private:
  /// A layer's part of a step, on a placement.
  struct Cost {
    double fullest = 0.0;   // the fullest rank's load, over all steps
    double elements = 0.0;  // that the busiest rank sends and receives for replicas, in a step
  };
  [[nodiscard]] Cost cost_of(const std::vector<double>& loads, const ExpertMap& map) const;
  [[nodiscard]] double step_s(const Cost& cost, const MoveRates& rates) const;
  [[nodiscard]] ExpertMap best_placement(const std::vector<double>& loads, const MoveRates& rates) const;
  [[nodiscard]] double all_loads() const;

  Index num_ranks_;
  Index num_passes_;
  Index most_replicas_;
  std::vector<double> weights_;             // [experts] of a row: the expert's parameters
  std::vector<ExpertMap> placement_;        // [MoE layers]
  std::vector<std::vector<double>> loads_;  // [MoE layers][experts] weighted rows since the last move
  double experts_s_ = 0.0;                  // of all ranks together, in those steps
  Index num_steps_ = 0;
};

}  // namespace conclave::apps
