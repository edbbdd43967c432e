// SPDX-License-Identifier: BSD-3-Clause
// What one MoE layer costs in a pass: gate, rows on their way, experts, forward and backward.
#pragma once

#include "runtime/sim/rank_speed.hpp"
#include "runtime/sim/step_log.hpp"
#include "runtime/sim/training_price.hpp"

namespace conclave::sim {

/// A mean over ranks, and the slowest one's.
struct Spread {
  double mean_s = 0.0;
  double max_s = 0.0;
  RankId slowest{};
};

/// What a wave of experts takes: its rows on their way in, the experts until there are results, what they do after
/// that, the results on their way out. busy_s: by how much longer the experts take while rows of a wave are on their
/// way in or out.
struct WaveCosts {
  double in_s = 0.0;
  double results_s = 0.0;
  double rest_s = 0.0;
  double out_s = 0.0;
  double busy_s = 0.0;
};
struct WavesTime {
  double all_s = 0.0;   // from the first row that leaves to the last result
  double tail_s = 0.0;  // of it, after the last experts
  double busy_s = 0.0;  // of it, by how much longer the experts take
};
/// Waves of experts whose rows all leave at once, one after another on the same wires as results, which leave when
/// there are any: experts and wires each do one thing at a time.
[[nodiscard]] WavesTime time_of_waves(Index waves, const WaveCosts& wave);

struct LayerPrice {
  PhaseWork work{};        // mean over ranks: gate, dispatch, experts, combine
  Spread routing;          // gate, gathering rows and combining what comes back
  Spread experts;          // the slowest by the fullest rank on average, not by the mean load
  double counts_s = 0.0;   // telling all ranks how many rows come
  double forward_s = 0.0;  // from the first row that leaves to the last result, the slowest rank's experts included
  double backward_s = 0.0;
  double backward_idle_s = 0.0;  // of it, while the link that gradients wait for carries no rows
  double communication_s = 0.0;  // of rows and counts, hidden or not; results that pass rows on their way count once
  double drop_rate = 0.0;
  double exposed_forward_s = 0.0;  // of rows, what nothing hides
  double exposed_backward_s = 0.0;
  double busy_s = 0.0;  // by how much longer experts take than alone, both ways
  std::string exchange{};
  std::string counts_bottleneck{};
  std::string forward_bottleneck{};
  std::string backward_bottleneck{};
  std::string fullest{};  // who sets the pace of the experts, and why

  /// What nothing hides.
  [[nodiscard]] double exposed_s() const { return counts_s + exposed_forward_s + exposed_backward_s; }
};

/// gradients: what each resource carries of a pass' gradients. log: where the layer's part of its rows and exchanges is
/// added, as one of the training's cases of loads; or null.
[[nodiscard]] LayerPrice price_layer(const TrainingCase& training, const RankSpeed& speed,
                                     const experts::Placement& placement, const ExpertLoads& loads,
                                     const Loads& gradients, StepLog* log = nullptr);

/// A rank's groups of a pass.
[[nodiscard]] Range groups_of(const TrainingCase& training, RankId rank);

/// Of a class of sources, an even share of the step's groups, what a rank has, on average over passes.
[[nodiscard]] double share_of_class(const TrainingCase& training, RankId rank, Index source, Index classes);

/// Over all ranks: seconds_of(groups) of a rank's groups, on its host.
[[nodiscard]] Spread over_ranks(const TrainingCase& training, const RankSpeed& speed,
                                FunctionRef<double(Index groups)> seconds_of);

}  // namespace conclave::sim
