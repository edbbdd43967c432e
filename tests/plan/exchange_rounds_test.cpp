// SPDX-License-Identifier: BSD-3-Clause
#include "comm/plan/bruck.hpp"
#include "comm/plan/gather.hpp"
#include "comm/plan/hierarchical.hpp"
#include "comm/plan/pairwise.hpp"
#include "runtime/core/error.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

namespace conclave::plan {
namespace {

TEST(Pairwise, EveryRankMeetsEveryOtherOnceAndAsItsPeersExpect) {
  for (const auto peers_in : {pairwise_round, cyclic_round}) {
    for (const Index ranks : {2, 3, 4, 6, 8, 11}) {
      for (RankId rank; rank < RankId{ranks}; ++rank) {
        std::set<RankId> met;
        for (Index round = 1; round < ranks; ++round) {
          const PairwiseRound mine = peers_in(ranks, rank, round);
          EXPECT_EQ(peers_in(ranks, mine.to, round).from, rank);
          EXPECT_NE(mine.to, rank);
          met.insert(mine.to);
        }
        EXPECT_EQ(std::ssize(met), ranks - 1);
      }
    }
  }
  EXPECT_THROW(static_cast<void>(cyclic_round(4, RankId{0}, 4)), InvariantError);
}

TEST(Pairwise, FewRoundsAreUnderWayAtOnce) {
  const Topology topology({0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  std::map<std::pair<Index, RankId>, Index> sent;  // in a phase, by a rank
  for (const Step& step : pairwise_schedule(topology, [](RankId, RankId) { return 1; })) {
    if (step.from != step.to) ++sent[{step.phase, step.from}];
  }
  EXPECT_EQ(sent.size(), 30U);
  for (const auto& [who, messages] : sent) EXPECT_LE(messages, pairwise_rounds_at_once);
}

// Blocks that are moved as the plan says: after the last round everybody has what was meant for it.
TEST(Bruck, RoundsBringEveryBlockToItsDestination) {
  for (const Index ranks : {1, 2, 3, 5, 6, 8, 13}) {
    const BruckPlan plan(ranks);
    EXPECT_LE(Index{1} << plan.num_rounds(), 2 * ranks - (ranks == 1 ? 1 : 0));
    std::vector<std::vector<std::pair<Index, Index>>> at(static_cast<std::size_t>(ranks));  // [rank][position]
    for (Index r = 0; r < ranks; ++r) {
      for (Index i = 0; i < ranks; ++i) at[static_cast<std::size_t>(r)].emplace_back(r, (r + i) % ranks);
    }
    for (Index round = 0; round < plan.num_rounds(); ++round) {
      auto next = at;
      for (Index r = 0; r < ranks; ++r) {
        for (const Index i : plan.positions(round)) {
          const BruckBlock block = plan.block(RankId{r}, round, i);
          const auto& here = at[static_cast<std::size_t>(r)][static_cast<std::size_t>(i)];
          EXPECT_EQ(here, std::pair(block.source.value(), block.destination.value()));
          const RankId to = plan.to(RankId{r}, round);
          EXPECT_EQ(plan.from(to, round), RankId{r});
          next[static_cast<std::size_t>(to.value())][static_cast<std::size_t>(i)] = here;
        }
      }
      at = next;
    }
    for (Index r = 0; r < ranks; ++r) {
      for (Index i = 0; i < ranks; ++i) {
        const auto& block = at[static_cast<std::size_t>(r)][static_cast<std::size_t>(i)];
        EXPECT_EQ(block, std::pair((r - i + ranks) % ranks, r));
      }
    }
  }
}

TEST(Hierarchical, OneMessageCrossesTheNetworkForEachOrderedPairOfNodes) {
  const Topology topology({0, 0, 1, 2, 2, 2, 0});
  const RowTraffic traffic{[](RankId, RankId) { return 3; }, {}, 100};
  std::set<std::pair<NodeId, NodeId>> pairs;
  std::map<std::pair<Index, NodeId>, Index> received;  // in a phase, by a node
  for (const Step& step : hierarchical_schedule(topology, traffic)) {
    if (step.level != Level::network) continue;
    const NodeId to = topology.node(step.to);
    EXPECT_TRUE(pairs.emplace(topology.node(step.from), to).second) << "a second message";
    EXPECT_EQ(++(received[{step.phase, to}]), 1) << "two bundles at once";
  }
  EXPECT_EQ(pairs.size(), 6U);
}

TEST(Hierarchical, CopiesForOneNodeCrossOnce) {
  const Topology topology({0, 1, 1});
  const auto rows = [](RankId from, RankId to) { return from == RankId{0} && to != RankId{0} ? 50 : 0; };
  const auto bytes_of = [&](const RowTraffic& traffic) {
    Index bytes = 0;
    for (const Step& step : hierarchical_schedule(topology, traffic)) {
      bytes += step.level == Level::network ? step.bytes : 0;
    }
    return bytes;
  };
  const Index all = bytes_of({rows, {}, 1000});
  const Index once = bytes_of({rows, [](RankId from, NodeId) { return from == RankId{0} ? 50 : 0; }, 1000});
  EXPECT_GE(all, 100 * 1000);
  EXPECT_LT(all, 100 * 1000 + 200);
  EXPECT_GE(once, 50 * 1000);
  EXPECT_LT(once, 50 * 1000 + 1000) << "the indices take 4 bytes a row";
}

// Who sends a slice has it, everybody gets every slice once, and each node but the owner's gets it by one message.
TEST(Gather, BringsEverySliceToEveryRankOnceAndToEveryNodeByOneMessage) {
  for (const Topology& topology : {Topology({0, 1, 2, 3}), Topology({0, 0, 1, 1, 2, 2}), Topology({0, 1, 0, 2, 1, 0}),
                                   Topology({0, 0, 0}), Topology({0}), Topology({0, 1, 2, 3, 4, 5, 6, 6, 6})}) {
    for (const Index smallest : {Index{1}, most_bytes_of_small_slice}) {
      std::map<std::pair<RankId, Index>, Index> had_from;  // (rank, slice) -> the phase from which on it is there
      for (RankId r; r < RankId{topology.num_ranks()}; ++r) had_from[{r, r.value()}] = 0;
      Index messages_between = 0;
      // A slice's bytes tell whose it is.
      auto steps = gather_schedule(topology, [&](RankId owner) { return owner.value() + smallest; });
      std::stable_sort(steps.begin(), steps.end(), [](const Step& a, const Step& b) { return a.phase < b.phase; });
      for (const Step& step : steps) {
        const Index slice = step.bytes - smallest;
        ASSERT_TRUE(had_from.contains(std::pair(step.from, slice)));
        EXPECT_LE((had_from[{step.from, slice}]), step.phase);
        EXPECT_TRUE(had_from.try_emplace({step.to, slice}, step.phase + 1).second) << "twice";
        EXPECT_EQ(step.level, level_between(topology, step.from, step.to));
        messages_between += step.level == Level::network ? 1 : 0;
      }
      EXPECT_EQ(std::ssize(had_from), topology.num_ranks() * topology.num_ranks());
      EXPECT_EQ(messages_between, topology.num_ranks() * (topology.num_nodes() - 1));
    }
  }
  EXPECT_TRUE(gather_schedule(Topology({0, 1, 1}), [](RankId) { return Index{0}; }).empty());
}

TEST(Gather, SmallSlicesTakeFewRounds) {
  for (const Index nodes : {1, 2, 3, 8, 1000}) {
    EXPECT_EQ(std::ssize(gather_rounds(nodes, most_bytes_of_small_slice + 1)), nodes - 1);
    const Index rounds = std::ssize(gather_rounds(nodes, most_bytes_of_small_slice));
    EXPECT_GE(Index{1} << rounds, nodes);
    EXPECT_LT(Index{1} << rounds, 2 * nodes);
  }
}

}  // namespace
}  // namespace conclave::plan
