// SPDX-License-Identifier: BSD-3-Clause
#include "comm/plan/pairwise.hpp"

#include "runtime/core/error.hpp"

#include <bit>

namespace conclave::plan {

PairwiseRound cyclic_round(Index num_ranks, RankId rank, Index round) {
  invariant(0 < round && round < num_ranks, "round {} of {} ranks", round, num_ranks);
  return {RankId{(rank.value() + round) % num_ranks}, RankId{(rank.value() + num_ranks - round) % num_ranks}};
}

PairwiseRound pairwise_round(Index num_ranks, RankId rank, Index round) {
  invariant(0 < round && round < num_ranks, "round {} of {} ranks", round, num_ranks);
  if (std::has_single_bit(static_cast<std::uint64_t>(num_ranks))) {
    const RankId peer{rank.value() ^ round};
    return {peer, peer};
  }
  return cyclic_round(num_ranks, rank, round);
}

std::vector<Step> pairwise_schedule(const Topology& topology, const Traffic& traffic) {
  const Index num_ranks = topology.num_ranks();
  std::vector<Step> steps;
  const auto add = [&](Index phase, RankId from, RankId to) {
    const Index bytes = checked_bytes(traffic, from, to);
    if (bytes > 0) steps.push_back({phase, from, to, bytes, level_between(topology, from, to)});
  };
  for (RankId rank; rank < RankId{num_ranks}; ++rank) add(0, rank, rank);
  for (Index round = 1; round < num_ranks; ++round) {
    for (RankId rank; rank < RankId{num_ranks}; ++rank) {
      add((round - 1) / pairwise_rounds_at_once, rank, pairwise_round(num_ranks, rank, round).to);
    }
  }
  return steps;
}

}  // namespace conclave::plan
