// SPDX-License-Identifier: BSD-3-Clause
// What the MoE layers of a step did, over all ranks.
#pragma once

#include "runtime/model/moe_layer.hpp"

namespace conclave::model {

/// One layer's routing and losses over a step.
struct LayerStatistics {
  Index tokens = 0;
  std::vector<Index> load;  // [num_experts] claims before capacity
  // The drop ledger's counts.
  Index over_capacity = 0;   // claims dropped because no slot was free
  Index refused_second = 0;  // second choices turned down by a random policy
  Index unchosen = 0;        // tokens that no expert chose (expert choice)
  Index rerouted = 0;        // claims served by another expert than they asked for
  Index unserved = 0;        // tokens without any expert, for whatever reason
  double balance = 0.0;      // the losses, without coefficients
  double z = 0.0;
  double importance = 0.0;
  double entropy = 0.0;  // of the router's distribution, mean over tokens, nats

  [[nodiscard]] Index claims() const;
  /// Share of all claims that got no slot, refused ones included; 0 without claims.
  [[nodiscard]] double drop_rate() const;
  /// Share of tokens without any expert; 0 without tokens.
  [[nodiscard]] double unserved_rate() const;
  /// The fullest expert's load over the mean; 1 is even.
  [[nodiscard]] double imbalance() const;
  /// exp(entropy of the load over experts): as many experts, evenly loaded, would be as uncertain. Between 1 (one
  /// expert takes all) and the number of experts; that number without claims.
  [[nodiscard]] double effective_experts() const;
  /// Experts without a claim.
  [[nodiscard]] Index dead_experts() const;
  /// Takes in what another pass or step did: counts are added, means weighted by tokens. InvariantError for a layer of
  /// another number of experts.
  void add(const LayerStatistics& other);
  /// Back to those of no pass; memory is kept.
  void forget();
  /// The layer's part of the objective.
  [[nodiscard]] double weighted_loss(const gating::RouterOptions& options) const;
};

/// The counts of the ledger: what ranks and passes add up.
inline constexpr std::array<Index LayerStatistics::*, 5> ledger_counts{
    &LayerStatistics::over_capacity, &LayerStatistics::refused_second, &LayerStatistics::unchosen,
    &LayerStatistics::rerouted, &LayerStatistics::unserved};

}  // namespace conclave::model
