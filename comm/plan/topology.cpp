// SPDX-License-Identifier: BSD-3-Clause
#include "comm/plan/topology.hpp"

#include <unordered_map>

namespace conclave::plan {

Topology::Topology(const std::vector<Index>& node_of) {
  std::unordered_map<Index, NodeId> known;
  node_of_.reserve(node_of.size());
  for (const Index name : node_of) {
    const auto [entry, is_new] = known.try_emplace(name, NodeId{num_nodes()});
    if (is_new) ranks_.emplace_back();
    const NodeId node = entry->second;
    ranks_[static_cast<std::size_t>(node.value())].push_back(RankId{num_ranks()});
    node_of_.push_back(node);
  }
}

Topology Topology::filled(Index num_ranks, Index ranks_per_node) {
  std::vector<Index> node_of;
  for (Index rank = 0; rank < num_ranks; ++rank) node_of.push_back(rank / ranks_per_node);
  return Topology(node_of);
}

}  // namespace conclave::plan
