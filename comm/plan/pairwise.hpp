// SPDX-License-Identifier: BSD-3-Clause
// The pairwise exchange: in every round a rank sends to one peer and receives from one.
#pragma once

#include "comm/plan/schedule.hpp"

namespace conclave::plan {

/// Rounds that are under way at once, so that no rank has more than so many messages in flight: a phase. The next ones
/// start when these have ended.
inline constexpr Index pairwise_rounds_at_once = 4;

struct PairwiseRound {
  RankId to;
  RankId from;
};

/// The ranks that are `round` further on and back, 1 ... num_ranks - 1. With one round at a time these are the peers of
/// MPI libraries' own pairwise all-to-all.
[[nodiscard]] PairwiseRound cyclic_round(Index num_ranks, RankId rank, Index round);

/// Whom `rank` sends to and receives from in a round, 1 ... num_ranks - 1: the same peer, rank xor round, where the
/// number of ranks is a power of two, else as cyclic_round.
[[nodiscard]] PairwiseRound pairwise_round(Index num_ranks, RankId rank, Index round);

/// Empty messages are left out. A rank's part for itself is in phase 0.
[[nodiscard]] std::vector<Step> pairwise_schedule(const Topology& topology, const Traffic& traffic);

}  // namespace conclave::plan
