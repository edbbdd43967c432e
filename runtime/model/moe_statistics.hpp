// SPDX-License-Identifier: BSD-3-Clause
// What the MoE layers of a step did, over all ranks.
#pragma once

#include "runtime/model/moe_layer.hpp"

namespace conclave::model {

/// One layer's routing and losses over a step.
struct LayerStatistics {
  Index tokens = 0;
  std::vector<Index> load;   // [num_experts] claims before capacity
  Index over_capacity = 0;   // claims dropped because no slot was free
  Index refused_second = 0;  // second choices turned down by GShard's random policy
  double balance = 0.0;      // the losses, without coefficients
  double z = 0.0;
  double importance = 0.0;
  double entropy = 0.0;  // of the router's distribution, mean over tokens, nats

  [[nodiscard]] Index claims() const;
  /// Share of all claims that got no slot, refused ones included; 0 without claims.
  [[nodiscard]] double drop_rate() const;
  /// The fullest expert's load over the mean; 1 is even.
  [[nodiscard]] double imbalance() const;
  /// The layer's part of the objective.
  [[nodiscard]] double weighted_loss(const gating::RouterOptions& options) const;
};

/// The statistics of the last forward of each layer, the same bits on every rank. Collective: one integer sum and one
/// gather of a few numbers a group, for all layers together.
template <class T>
[[nodiscard]] std::vector<LayerStatistics> collect_statistics(const comm::Communicator& communicator, const Step& step,
                                                              const std::vector<const MoeLayer<T>*>& layers);

/// Statistics of a step from those of its passes (gradient accumulation): counts are added, means
/// weighted by tokens.
[[nodiscard]] std::vector<LayerStatistics> merge_passes(const std::vector<std::vector<LayerStatistics>>& passes);

}  // namespace conclave::model
