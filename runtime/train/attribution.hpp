// SPDX-License-Identifier: BSD-3-Clause
// Where a step's time went over all ranks: computing, communication that nothing hid, waiting for the slowest rank, and
// files; by the words and the rule of simulated steps (runtime/sim/training_price.hpp).
//
// Ranks meet before and after the experts of every MoE layer. In each stretch between, all wait for the one that
// computes longest in it:
//   imbalance = sum over the stretches of (slowest rank's time - mean over ranks), of what ranks waited at most
//   exposed   = mean time that ranks waited - imbalance
#pragma once

#include "runtime/core/expert_map.hpp"
#include "runtime/core/trace.hpp"

#include <vector>

namespace conclave::train {

/// The places of stretches: data, all that lies in no MoE layer, and of each MoE layer what ranks do for their own
/// tokens, then the experts.
inline constexpr Index stretch_of_data = 0;
inline constexpr Index stretch_outside = 1;
[[nodiscard]] constexpr Index stretch_of_own(Index moe_layer) { return 2 + 2 * moe_layer; }
[[nodiscard]] constexpr Index stretch_of_experts(Index moe_layer) { return 3 + 2 * moe_layer; }
/// The MoE layer whose experts' stretch this is; nothing of the other stretches.
[[nodiscard]] constexpr std::optional<Index> layer_of_experts(Index stretch) {
  return stretch >= stretch_of_experts(0) && stretch % 2 == 1 ? std::optional((stretch - 3) / 2) : std::nullopt;
}

/// Of one step; seconds are means over ranks.
struct Attribution {
  double compute_s = 0.0;                    // all phases but `data` and `wait`
  double exposed_s = 0.0;                    // communication that nothing hid
  double imbalance_s = 0.0;                  // waiting for the slowest rank
  double io_s = 0.0;                         // reading data, and saving since the step before
  RankId slowest{0};                         // for which the others waited longest; of one rank itself
  double waited_s = 0.0;                     // for it, of imbalance_s
  Index slowest_stretch = stretch_outside;   // of its stretches the one that they waited most for
  std::optional<ExpertId> slowest_expert{};  // if that is one of experts: the fullest of its experts there

  struct Layer {
    double compute_s = 0.0;
    double exposed_s = 0.0;
    double imbalance_s = 0.0;  // 0 of a layer without experts: ranks do not meet there
  };
  std::vector<Layer>
      layers;  // by block. A rank that gets nothing from the experts waits in the next layer for this one

  /// [ranks, stretches] seconds that each rank computed (or read data) in each stretch.
  std::vector<double> stretches_s;

  /// Adds all but what is of the slowest rank, and the stretches.
  void add(const Attribution& more);
  /// Of compute, exposed, imbalance and io.
  [[nodiscard]] double total_s() const { return compute_s + exposed_s + imbalance_s + io_s; }
};

/// A rank's times of a step.
struct RankTimes {
  std::span<const double> phases_s;  // [num_phases]
  double saving_s = 0.0;
  std::span<const double> layers_s;  // [blocks, 3] as of numbers_of
};
inline constexpr std::size_t numbers_of_layer = 3;
/// A layer's times as numbers that travel.
[[nodiscard]] constexpr std::array<double, numbers_of_layer> numbers_of(const LayerTimes& layer) {
  return {layer.own_s, layer.experts_s, layer.wait_s};
}

class Attributor {
 public:
  /// has_experts: [blocks].
  Attributor(std::vector<bool> has_experts, Index num_ranks);

  [[nodiscard]] Index num_blocks() const { return std::ssize(has_experts_); }
  /// Begins a step in `attribution`, whose memory is used again.
  void begin(Attribution& attribution) const;
  /// Of every rank, once.
  void take(RankId rank, const RankTimes& times, Attribution& attribution) const;
  /// All but slowest_expert.
  void finish(Attribution& attribution);

 private:
  [[nodiscard]] Index num_stretches() const { return stretch_of_own(num_moe_); }

  std::vector<bool> has_experts_;
  Index num_moe_ = 0;
  struct WaitedFor {
    double seconds = 0.0;
    double longest_s = 0.0;  // for one stretch
    Index longest = stretch_outside;
  };
  std::vector<WaitedFor> waited_for_;  // [ranks]
};

/// Of the experts that a rank hosts in a layer the one that most claims came for, as one of its hosts shares them out;
/// nothing where it hosts none. load: [experts].
[[nodiscard]] std::optional<ExpertId> fullest_expert(RankId rank, const ExpertMap& map, std::span<const Index> load);

/// The largest of a stretch's times and the mean over ranks.
struct StretchSpread {
  double max_s = 0.0;
  double mean_s = 0.0;
  RankId slowest{0};
  [[nodiscard]] double excess_s() const { return max_s - mean_s; }
};
/// stretches_s: [num_ranks, stretches].
[[nodiscard]] StretchSpread spread_of_stretch(std::span<const double> stretches_s, Index num_ranks, Index stretch);

}  // namespace conclave::train
