// SPDX-License-Identifier: BSD-3-Clause
// Placements that differ in the ways of rows alone: the same shares of experts on ranks nearer to where rows come from.
#pragma once

#include "experts/placement.hpp"
#include "runtime/core/function_ref.hpp"

namespace conclave::experts {

/// Rows that a rank has for an expert.
using RowsOfRank = FunctionRef<double(RankId, ExpertId)>;

/// The placement, each rank's experts together on another rank where more of their rows come from its node, and in it
/// from the rank itself; where that is equal, on the node and the rank that host most of them in `present`. Found
/// greedily, nodes first. Ranks fill nodes one after another. The same input gives the same placement. InvariantError
/// for placements of other experts or ranks than one another's, or ranks that do not fill nodes.
[[nodiscard]] Placement moved_near(const Placement& placement, const Placement& present, Index ranks_per_node,
                                   RowsOfRank rows);

/// balanced_placement within each node, among the experts whose first host in `present` it has: none changes its node.
/// InputError if a node's ranks have too few slots.
[[nodiscard]] Placement balanced_within_nodes(std::span<const double> loads, const Placement& present,
                                              Index ranks_per_node, Index slots);

}  // namespace conclave::experts
