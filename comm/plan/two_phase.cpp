// SPDX-License-Identifier: BSD-3-Clause
#include "comm/plan/two_phase.hpp"

#include "runtime/core/error.hpp"

namespace conclave::plan {
namespace {

RankId rank_at(const EqualNodes& nodes, Index node, Index place) { return RankId{node * nodes.node_ranks + place}; }

}  // namespace

RankId mate_in_round(const EqualNodes& nodes, RankId rank, Index round) {
  invariant(0 < round && round < nodes.node_ranks, "round {} within nodes of {} ranks", round, nodes.node_ranks);
  const Index node = rank.value() / nodes.node_ranks;
  return rank_at(nodes, node, (rank.value() + round) % nodes.node_ranks);
}

RankId partner_in_round(const EqualNodes& nodes, RankId rank, Index round) {
  invariant(0 < round && round < nodes.num_nodes, "round {} between {} nodes", round, nodes.num_nodes);
  const Index node = rank.value() / nodes.node_ranks;
  return rank_at(nodes, (node + round) % nodes.num_nodes, rank.value() % nodes.node_ranks);
}

std::vector<Step> two_phase_schedule(const EqualNodes& nodes, const Traffic& traffic) {
  const RankId end{nodes.num_nodes * nodes.node_ranks};
  std::vector<Step> steps;
  const auto add = [&](Index phase, RankId from, RankId to, Index bytes, Level level) {
    if (bytes > 0) steps.push_back({phase, from, to, bytes, level});
  };
  for (RankId rank; rank < end; ++rank) add(0, rank, rank, checked_bytes(traffic, rank, rank), Level::self);
  for (Index round = 1; round < nodes.node_ranks; ++round) {
    for (RankId from; from < end; ++from) {
      const RankId mate = mate_in_round(nodes, from, round);
      Index bytes = 0;
      for (Index node = 0; node < nodes.num_nodes; ++node) {
        bytes += checked_bytes(traffic, from, rank_at(nodes, node, mate.value() % nodes.node_ranks));
      }
      add(round, from, mate, bytes, Level::node);
    }
  }
  for (Index round = 1; round < nodes.num_nodes; ++round) {
    for (RankId from; from < end; ++from) {
      const RankId to = partner_in_round(nodes, from, round);
      Index bytes = 0;
      for (Index place = 0; place < nodes.node_ranks; ++place) {
        bytes += checked_bytes(traffic, rank_at(nodes, from.value() / nodes.node_ranks, place), to);
      }
      add(nodes.node_ranks - 1 + round, from, to, bytes, Level::network);
    }
  }
  return steps;
}

}  // namespace conclave::plan
