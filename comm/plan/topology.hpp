// SPDX-License-Identifier: BSD-3-Clause
// Which ranks share a node.
#pragma once

#include "runtime/core/ids.hpp"

#include <vector>

namespace conclave::plan {

/// Ranks and the nodes they run on. Nodes are numbered by their lowest rank.
class Topology {
 public:
  /// node_of[r]: any number that ranks of one node have in common.
  explicit Topology(const std::vector<Index>& node_of);
  /// Ranks that fill nodes of so many, one after another; the last node may have fewer.
  [[nodiscard]] static Topology filled(Index num_ranks, Index ranks_per_node);

  [[nodiscard]] Index num_ranks() const { return static_cast<Index>(node_of_.size()); }
  [[nodiscard]] Index num_nodes() const { return static_cast<Index>(ranks_.size()); }
  [[nodiscard]] NodeId node(RankId rank) const { return node_of_[static_cast<std::size_t>(rank.value())]; }
  /// The ranks of a node, ascending.
  [[nodiscard]] const std::vector<RankId>& ranks(NodeId node) const {
    return ranks_[static_cast<std::size_t>(node.value())];
  }
  /// The node's lowest rank.
  [[nodiscard]] RankId leader(NodeId node) const { return ranks(node).front(); }
  friend bool operator==(const Topology&, const Topology&) = default;

 private:
  std::vector<NodeId> node_of_;             // [num_ranks]
  std::vector<std::vector<RankId>> ranks_;  // [num_nodes][ranks of the node]
};

}  // namespace conclave::plan
