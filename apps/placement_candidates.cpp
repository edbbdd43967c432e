// SPDX-License-Identifier: BSD-3-Clause
#include "apps/placement_candidates.hpp"

#include <algorithm>

namespace conclave::apps {
namespace {

using experts::Placement;

void add(std::vector<Placement>& placements, Placement placement) {
  const auto is_same = [&](const Placement& other) { return other.hosts == placement.hosts; };
  if (std::ranges::none_of(placements, is_same)) placements.push_back(std::move(placement));
}

// Of a rank: as many as even runs take, and as copies need.
Index slots_of(Index num_experts, Index num_ranks, Index copies) {
  return even_share(num_experts, num_ranks, 0).size() + (copies + num_ranks - 1) / num_ranks;
}

}  // namespace

std::vector<Placement> candidate_placements(std::span<const double> loads, Index num_ranks, Index replicas) {
  const Index most = num_ranks == 1 ? 0 : replicas;
  const Index slots = slots_of(std::ssize(loads), num_ranks, 0);
  const Index more_slots = slots_of(std::ssize(loads), num_ranks, most);
  std::vector<Placement> placements{experts::balanced_placement(loads, num_ranks, slots)};
  for (Index tried = 0; tried < most;) {
    tried = std::min(most, std::max<Index>(1, 2 * tried));
    add(placements, experts::replicated_placement(loads, num_ranks, more_slots, tried));
  }
  return placements;
}

std::vector<Placement> candidate_placements(std::span<const double> loads, Index replicas, const Placement& present,
                                            Index ranks_per_node, experts::RowsOfRank rows) {
  std::vector<Placement> placements{experts::moved_near(present, present, ranks_per_node, rows)};
  for (const Placement& placement : candidate_placements(loads, present.num_ranks, replicas)) {
    add(placements, experts::moved_near(placement, present, ranks_per_node, rows));
  }
  if (ranks_per_node == present.num_ranks) return placements;
  const Index slots = slots_of(std::ssize(loads), present.num_ranks, replicas);
  const Placement within = experts::balanced_within_nodes(loads, present, ranks_per_node, slots);
  add(placements, experts::moved_near(within, present, ranks_per_node, rows));
  return placements;
}

}  // namespace conclave::apps
