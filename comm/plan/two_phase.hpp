// SPDX-License-Identifier: BSD-3-Clause
// The two-phase exchange, for nodes of equally many ranks: what a rank has for the ranks of one place in their nodes,
// its own node among them, it first gives to its mate of that place; then ranks of the same place exchange what they
// have gathered. So R - 1 messages within the node and N - 1 between nodes take the place of N R - 1. A simulator
// prices it; the runtime does better between nodes (hierarchical.hpp).
#pragma once

#include "comm/plan/schedule.hpp"

namespace conclave::plan {

/// Ranks fill node after node, `node_ranks` each.
struct EqualNodes {
  Index num_nodes = 0;
  Index node_ranks = 0;
};

/// The mate to whom a rank gives in round 1 ... node_ranks - 1 of the first phase: the one that is so many further on.
[[nodiscard]] RankId mate_in_round(const EqualNodes& nodes, RankId rank, Index round);
/// The rank of the same place to whom a rank sends in round 1 ... num_nodes - 1 of the second phase, as many nodes on.
[[nodiscard]] RankId partner_in_round(const EqualNodes& nodes, RankId rank, Index round);

/// Phases 1 ... node_ranks - 1 within nodes, then a phase for each round between nodes. Empty messages are left out; a
/// rank's part for itself is in phase 0.
[[nodiscard]] std::vector<Step> two_phase_schedule(const EqualNodes& nodes, const Traffic& traffic);

}  // namespace conclave::plan
