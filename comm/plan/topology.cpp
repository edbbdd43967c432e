// SPDX-License-Identifier: BSD-3-Clause
#include "comm/plan/topology.hpp"

#include <algorithm>
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
  Topology topology({});
  topology.node_of_.reserve(static_cast<std::size_t>(num_ranks));
  for (Index first = 0; first < num_ranks; first += ranks_per_node) {
    const NodeId node{topology.num_nodes()};
    std::vector<RankId>& ranks = topology.ranks_.emplace_back();
    for (Index rank = first; rank < std::min(num_ranks, first + ranks_per_node); ++rank) {
      ranks.push_back(RankId{rank});
      topology.node_of_.push_back(node);
    }
  }
  return topology;
}

}  // namespace conclave::plan
