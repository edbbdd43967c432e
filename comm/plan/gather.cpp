// SPDX-License-Identifier: BSD-3-Clause
#include "comm/plan/gather.hpp"

#include "runtime/core/error.hpp"

#include <algorithm>

namespace conclave::plan {

std::vector<GatherRound> gather_rounds(Index num_nodes, Index largest_slice_bytes) {
  std::vector<GatherRound> rounds;
  if (largest_slice_bytes > most_bytes_of_small_slice) {
    for (Index age = 0; age + 1 < num_nodes; ++age) rounds.push_back({1, {age, age + 1}});
  } else {
    for (Index d = 1; d < num_nodes; d *= 2) rounds.push_back({d, {0, std::min(d, num_nodes - d)}});
  }
  return rounds;
}

RankId slice_carrier(const Topology& topology, NodeId node, Index place) {
  const std::vector<RankId>& ranks = topology.ranks(node);
  return ranks[static_cast<std::size_t>(place % std::ssize(ranks))];
}

std::vector<Step> gather_schedule(const Topology& topology, const std::function<Index(RankId owner)>& slice_bytes) {
  std::vector<Step> steps;
  Index largest = 0;
  for (RankId owner; owner < RankId{topology.num_ranks()}; ++owner) {
    invariant(slice_bytes(owner) >= 0, "a slice of {} bytes", slice_bytes(owner));
    largest = std::max(largest, slice_bytes(owner));
  }
  const auto add = [&](Index phase, RankId from, RankId to, RankId owner, Level level) {
    if (slice_bytes(owner) > 0) steps.push_back({phase, from, to, slice_bytes(owner), level});
  };
  const std::vector<GatherRound> rounds = gather_rounds(topology.num_nodes(), largest);
  for (NodeId node; node < NodeId{topology.num_nodes()}; ++node) {
    Index phase = 0;
    const auto share = [&](Range ages) {
      for_each_slice(topology, node, ages, [&](RankId owner, Index place) {
        const RankId carrier = slice_carrier(topology, node, place);
        for (const RankId mate : topology.ranks(node)) {
          if (mate != carrier) add(phase, carrier, mate, owner, Level::node);
        }
      });
    };
    Range arrived{0, 1};
    for (const GatherRound& round : rounds) {
      const NodeId to = node_to(topology, node, round.distance);
      for_each_slice(topology, node, round.ages, [&](RankId owner, Index place) {
        add(phase, slice_carrier(topology, node, place), slice_carrier(topology, to, place), owner, Level::network);
      });
      share(arrived);
      arrived = round.arrived();
      ++phase;
    }
    share(arrived);
  }
  return steps;
}

}  // namespace conclave::plan
