// SPDX-License-Identifier: BSD-3-Clause
// Where experts may be moved to: what simulations of placement = auto and runs with it choose from.
#pragma once

#include "experts/near_placement.hpp"

#include <vector>

namespace conclave::apps {

/// By what is asked of each expert: balanced, and with copies of the hottest, 1, 2, 4, ... up to `replicas` of them,
/// where there are several ranks. Ranks have as many slots as even runs take, and as copies need. Each once.
[[nodiscard]] std::vector<experts::Placement> candidate_placements(std::span<const double> loads, Index num_ranks,
                                                                   Index replicas);

/// The same on ranks that fill nodes of ranks_per_node and have `rows` for experts: each moved near to where its rows
/// come from, or else to where `present` has its experts; before them so moved the shares of `present`, and behind
/// them, on several nodes, those balanced within these.
[[nodiscard]] std::vector<experts::Placement> candidate_placements(std::span<const double> loads, Index replicas,
                                                                   const experts::Placement& present,
                                                                   Index ranks_per_node, experts::RowsOfRank rows);

}  // namespace conclave::apps
