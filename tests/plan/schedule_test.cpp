// SPDX-License-Identifier: BSD-3-Clause
#include "comm/plan/schedule.hpp"

#include "runtime/core/error.hpp"

#include <gtest/gtest.h>

namespace conclave::plan {
namespace {

TEST(Topology, NumbersNodesByTheirLowestRank) {
  const Topology topology({7, 3, 7, -1, 3});
  EXPECT_EQ(topology.num_ranks(), 5);
  EXPECT_EQ(topology.num_nodes(), 3);
  EXPECT_EQ(topology.node(RankId{2}), NodeId{0});
  EXPECT_EQ(topology.node(RankId{4}), NodeId{1});
  EXPECT_EQ(topology.node(RankId{3}), NodeId{2});
  EXPECT_EQ(topology.ranks(NodeId{0}), (std::vector{RankId{0}, RankId{2}}));
  EXPECT_EQ(topology.ranks(NodeId{1}), (std::vector{RankId{1}, RankId{4}}));
  EXPECT_EQ(topology.leader(NodeId{1}), RankId{1});
}

TEST(Topology, DependsOnWhoSharesANodeOnly) {
  EXPECT_EQ(Topology({7, 3, 7}), Topology({0, 1, 0}));
  EXPECT_NE(Topology({7, 3, 7}), Topology({0, 0, 1}));
  EXPECT_EQ(Topology({}).num_nodes(), 0);
}

TEST(FlatSchedule, SendsEveryMessageThatIsNotEmptyInOnePhase) {
  const Topology topology({0, 1, 0});
  const auto steps = flat_schedule(topology, [](RankId from, RankId to) { return 10 * from.value() + to.value(); });
  const std::vector<Step> expected{
      {0, RankId{0}, RankId{1}, 1, Level::network},  {0, RankId{0}, RankId{2}, 2, Level::node},
      {0, RankId{1}, RankId{0}, 10, Level::network}, {0, RankId{1}, RankId{1}, 11, Level::self},
      {0, RankId{1}, RankId{2}, 12, Level::network}, {0, RankId{2}, RankId{0}, 20, Level::node},
      {0, RankId{2}, RankId{1}, 21, Level::network}, {0, RankId{2}, RankId{2}, 22, Level::self},
  };
  EXPECT_EQ(steps, expected);
}

TEST(FlatSchedule, NoTrafficIsNoSteps) {
  EXPECT_TRUE(flat_schedule(Topology({0, 0}), [](RankId, RankId) { return Index{0}; }).empty());
  EXPECT_THROW(static_cast<void>(flat_schedule(Topology({0}), [](RankId, RankId) { return Index{-1}; })),
               InvariantError);
}

}  // namespace
}  // namespace conclave::plan
