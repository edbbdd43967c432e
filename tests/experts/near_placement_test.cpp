// SPDX-License-Identifier: BSD-3-Clause
#include "experts/near_placement.hpp"

#include "runtime/core/error.hpp"

#include <gtest/gtest.h>

#include <numeric>

namespace conclave::experts {
namespace {

constexpr auto alike = [](RankId /*rank*/, ExpertId /*expert*/) { return 1.0; };

// Rows that stay within the node of the rank that has them.
double rows_within(const Placement& placement, Index ranks_per_node, RowsOfRank rows) {
  double sum = 0.0;
  for (RankId rank; rank < RankId{placement.num_ranks}; ++rank) {
    for (ExpertId e; e < ExpertId{placement.num_experts()}; ++e) {
      const auto& hosts = placement.hosts[static_cast<std::size_t>(e.value())];
      for (const RankId host : hosts) {
        const bool is_near = host.value() / ranks_per_node == rank.value() / ranks_per_node;
        if (is_near) sum += rows(rank, e) / static_cast<double>(hosts.size());
      }
    }
  }
  return sum;
}

TEST(NearPlacement, ExpertsStayWhereTheyAreIfAllRanksHaveAsManyRows) {
  const Placement present = contiguous_placement(8, 4);
  // The same shares, each on another rank.
  Placement turned{{}, 4};
  for (Index e = 0; e < 8; ++e) turned.hosts.push_back({RankId{(e / 2 + 3) % 4}});
  EXPECT_EQ(moved_near(turned, present, 2, alike).hosts, present.hosts);
  // Experts 0 and 6 are to be together, and 1 and 7: three of four ranks may keep one, and the node two.
  const Placement mixed{
      {{RankId{3}}, {RankId{2}}, {RankId{0}}, {RankId{0}}, {RankId{1}}, {RankId{1}}, {RankId{3}}, {RankId{2}}}, 4};
  const Placement kept = moved_near(mixed, present, 2, alike);
  EXPECT_EQ(kept.hosts[2], present.hosts[2]);
  EXPECT_EQ(kept.hosts[4], present.hosts[4]);
  EXPECT_EQ(kept.hosts[0], kept.hosts[6]);
  EXPECT_EQ(kept.hosts[1], kept.hosts[7]);
  std::vector<double> loads(8, 1.0);
  EXPECT_EQ(imbalance(rank_loads(kept, loads)), 1.0);
}

TEST(NearPlacement, ExpertsGoToTheNodeThatTheirRowsComeFrom) {
  const Placement present = contiguous_placement(8, 4);
  // Ranks of the second node ask for the first experts, and the other way round.
  const auto rows = [](RankId rank, ExpertId e) { return (rank.value() < 2) == (e.value() >= 4) ? 10.0 : 1.0; };
  const Placement near = moved_near(present, present, 2, rows);
  EXPECT_GT(rows_within(near, 2, rows), 5.0 * rows_within(present, 2, rows));
  for (Index e = 0; e < 8; ++e) {
    EXPECT_EQ(near.hosts[static_cast<std::size_t>(e)].front().value() / 2, e < 4 ? 1 : 0) << "expert " << e;
  }
  // Copies stay apart, and in order.
  Placement copied = present;
  copied.hosts[0] = {RankId{0}, RankId{3}};
  const Placement moved = moved_near(copied, present, 1, rows);
  ASSERT_EQ(moved.hosts[0].size(), 2U);
  EXPECT_LT(moved.hosts[0][0], moved.hosts[0][1]);
}

TEST(NearPlacement, ANodesExpertsAreBalancedAmongItsRanks) {
  const std::vector<double> loads{9.0, 9.0, 1.0, 1.0, 5.0, 5.0, 5.0, 5.0};
  const Placement present = contiguous_placement(8, 4);
  const Placement within = balanced_within_nodes(loads, present, 2, 2);
  EXPECT_NE(within.hosts[0], within.hosts[1]);
  for (std::size_t e = 0; e < loads.size(); ++e) {
    EXPECT_EQ(within.hosts[e].front().value() / 2, present.hosts[e].front().value() / 2) << "expert " << e;
  }
  EXPECT_EQ(imbalance(rank_loads(within, loads)), 1.0);
  EXPECT_GT(imbalance(rank_loads(present, loads)), 1.7);
  EXPECT_THROW(balanced_within_nodes(loads, present, 2, 1), InputError);
}

TEST(NearPlacement, MoreRanksThanExpertsAndOneRankAreOrdinary) {
  const Placement sparse = contiguous_placement(2, 6);
  EXPECT_EQ(moved_near(sparse, sparse, 3, alike).hosts, sparse.hosts);
  EXPECT_EQ(balanced_within_nodes(std::vector{1.0, 2.0}, sparse, 3, 1).hosts.size(), 2U);
  const Placement one = contiguous_placement(3, 1);
  EXPECT_EQ(moved_near(one, one, 1, alike).hosts, one.hosts);
  EXPECT_THROW(moved_near(sparse, sparse, 4, alike), InvariantError) << "nodes are not filled";
  EXPECT_THROW(moved_near(sparse, one, 1, alike), InvariantError);
}

}  // namespace
}  // namespace conclave::experts
