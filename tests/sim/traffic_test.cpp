// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/traffic.hpp"

#include "runtime/core/error.hpp"

#include <gtest/gtest.h>

#include <map>

#include "tests/sim/clusters.hpp"

namespace conclave::sim {
namespace {

using Table = std::map<std::pair<Index, Index>, double>;

Table table_of(const Traffic& traffic) {
  Table table;
  traffic.for_each([&](const Pair& pair) {
    EXPECT_TRUE(table.emplace(std::pair(pair.from, pair.to), pair.bytes).second) << pair.from << " to " << pair.to;
  });
  return table;
}

TEST(Traffic, IsTermsAndBlocksAndPairsWithoutWhatIsForOneself) {
  Traffic traffic(4);
  traffic.add(TrafficTerm{{1.0, 2.0, 0.0, 4.0}, {0.5, 0.25, 0.25, 0.0}});
  traffic.add(TrafficTerm{{10.0, 20.0, 30.0, 40.0}, {1.0, 2.0, 3.0, 4.0}, 2});
  traffic.add(Pair{2, 0, 7.0});
  traffic.add(Pair{2, 0, 1.0});
  traffic.add(Pair{0, 3, 5.0});
  traffic.add(Pair{1, 1, 9.0});
  const Table expected{{{0, 1}, 0.25 + 20.0}, {{0, 2}, 0.25},       {{0, 3}, 5.0},   {{1, 0}, 1.0 + 20.0},
                       {{1, 2}, 0.5},         {{2, 0}, 8.0},        {{2, 3}, 120.0}, {{3, 0}, 2.0},
                       {{3, 1}, 1.0},         {{3, 2}, 1.0 + 120.0}};
  EXPECT_EQ(table_of(traffic), expected);
  double sum = 0.0;
  for (const auto& [ranks, bytes] : expected) {
    EXPECT_EQ(traffic.bytes(RankId{ranks.first}, RankId{ranks.second}), bytes);
    sum += bytes;
  }
  EXPECT_EQ(traffic.bytes(RankId{1}, RankId{1}), 0.0);
  EXPECT_EQ(traffic.bytes(RankId{1}, RankId{3}), 0.0);
  EXPECT_NEAR(traffic.total_bytes(), sum, 1e-12 * sum);
}

TEST(Traffic, TurnsRoundAndGrowsAndBecomesPairs) {
  for (const Cluster& cluster : all_kinds()) {
    SCOPED_TRACE(text_of(cluster));
    const Traffic traffic = mixed_traffic(cluster);
    const Table table = table_of(traffic);
    EXPECT_EQ(table.empty(), cluster.num_ranks() == 1);
    const Table back = table_of(traffic.transposed());
    const Table larger = table_of(traffic.scaled(3.0));
    EXPECT_EQ(back.size(), table.size());
    for (const auto& [ranks, bytes] : table) {
      EXPECT_DOUBLE_EQ(back.at({ranks.second, ranks.first}), bytes);
      EXPECT_DOUBLE_EQ(larger.at(ranks), 3.0 * bytes);
    }
    EXPECT_EQ(table_of(traffic.as_pairs()), table);
    EXPECT_TRUE(traffic.as_pairs().terms().empty());
    EXPECT_LE(std::ssize(table), traffic.most_flows());
    EXPECT_NEAR(traffic.total_bytes(), traffic.as_pairs().total_bytes(), 1e-12 * traffic.total_bytes());
  }
}

// Where one rank has nearly everything, what is left for the others must not be rounding.
TEST(Traffic, KeepsItsDigitsWhereOneRankIsMuchMorePopular) {
  Traffic traffic(3);
  traffic.add(TrafficTerm{{1.0, 0.0, 0.0}, {1e18, 1.0, 1.0}});
  EXPECT_EQ(traffic.total_bytes(), 2.0);
}

TEST(Traffic, RefusesWhatIsNone) {
  Traffic traffic(4);
  EXPECT_THROW(traffic.add(TrafficTerm{{1.0}, {1.0}}), InvariantError);
  EXPECT_THROW(traffic.add(TrafficTerm{std::vector<double>(4, 1.0), std::vector<double>(4, -1.0)}), InvariantError);
  EXPECT_THROW(traffic.add(TrafficTerm{std::vector<double>(4, 1.0), std::vector<double>(4, 1.0), 3}), InvariantError);
  EXPECT_THROW(traffic.add(Pair{0, 4, 1.0}), InvariantError);
  EXPECT_THROW(traffic.add(Pair{0, 1, not_given}), InvariantError);
}

}  // namespace
}  // namespace conclave::sim
