// SPDX-License-Identifier: BSD-3-Clause
// How many rows ranks send to one another's experts, counted from the plans of their exchanges.
#pragma once

#include "comm/plan/topology.hpp"
#include "runtime/model/moe_layer.hpp"

#include <optional>

namespace conclave::train {

/// Copies of tokens' rows of some consecutive training steps, all passes and MoE layers together. A row goes to its
/// expert and its result comes back; backward does the same once more. It tells who needs what from whom: an exchange
/// may send copies for several experts of a node once, or by way of other ranks. It depends on ranks and on where
/// experts are, and is no part of what is the same for all of them.
struct TrafficRecord {
  Index step = 0;             // the last of the steps
  Index steps = 0;            // how many
  Index ranks = 0;            // that there were
  Index nodes = 0;            // 0: the places are ranks; else they are nodes, of which there were so many
  Index row_bytes = 0;        // of a row, each time that it travels
  std::vector<Index> rows{};  // [places, places]: from the tokens' place to the experts'; a place may send to itself

  [[nodiscard]] Index places() const { return nodes > 0 ? nodes : ranks; }
};

/// What this rank sends, until it is taken.
class RowTraffic {
 public:
  /// Places are the ranks of `topology` if there are at most `limit`, else its nodes.
  static constexpr Index most_places = 64;
  RowTraffic(plan::Topology topology, RankId rank, Index row_bytes, Index limit = most_places);

  /// Of the last forward of each layer.
  void add_pass(std::span<const model::MoeLayer<float>* const> layers);
  void end_step() { ++steps_; }
  /// Since it was last taken, over all ranks, the last step being `step`; nothing if there was no step or no pass with
  /// a layer, or if there are more nodes than the limit. What is counted begins anew. Collective.
  [[nodiscard]] std::optional<TrafficRecord> take(const comm::Communicator& communicator, Index step);

 private:
  plan::Topology topology_;
  RankId rank_;
  Index row_bytes_;
  Index limit_;
  Index steps_ = 0;
  bool has_layers_ = false;
  std::vector<Index> sent_;  // [ranks]
};

}  // namespace conclave::train
