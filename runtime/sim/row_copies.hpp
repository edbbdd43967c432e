// SPDX-License-Identifier: BSD-3-Clause
// How many of the rows that leave for a node are copies of one another: a token that several experts of a node want
// crosses the network once by the hierarchical exchange.
#pragma once

#include "runtime/core/ids.hpp"

#include <span>
#include <vector>

namespace conclave::sim {

/// A token's way to a node: how probably it chooses the expert, and of its rows there the share that goes to this node.
struct NodeChoice {
  double chance = 0.0;  // in [0, 1]
  double share = 1.0;   // in [0, 1]; below 1: replicas on other nodes have the others
};

/// Of the rows for each node those that are no copies, over all nodes: 1 where no token goes to a node twice. A token
/// chooses `choices` different experts, otherwise independently (conditional Poisson sampling: Hájek, Ann. Math. Stat.
/// 35, 1964), and each choice is kept with the probability `kept`. 1 too where nothing is chosen.
[[nodiscard]] double distinct_share(std::span<const std::vector<NodeChoice>> nodes, Index choices, double kept);

}  // namespace conclave::sim
