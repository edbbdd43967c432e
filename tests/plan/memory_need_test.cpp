// SPDX-License-Identifier: BSD-3-Clause
// What the formulas say of a strategy's memory is what its plan makes room for.
#include "comm/plan/memory_need.hpp"

#include "comm/plan/bruck.hpp"
#include "comm/plan/hierarchical.hpp"

#include <gtest/gtest.h>

#include <numeric>

namespace conclave::plan {
namespace {

constexpr Index rows = 1000;  // from every rank to every rank

TEST(MemoryNeed, HoldsTheBundlesOfAHierarchicalExchange) {
  constexpr Index row_bytes = 4096;
  const Topology topology({0, 0, 0, 1, 1, 1, 2, 2, 2});
  NodeBundles bundles;
  bundles.lay_out(
      topology, NodeId{1}, true, row_bytes,
      [](Index, NodeId) {
        return NodeRows{3 * rows, 3 * rows, 3 * rows};
      },
      [](Index) { return 9 * rows * row_bytes; });
  const std::vector<Index>& bytes = bundles.bytes_needed();
  ASSERT_EQ(bytes.size(), 3U);
  const double planned = static_cast<double>(std::accumulate(bytes.begin(), bytes.end(), Index{0})) / 3.0 / row_bytes;
  const RowTransport transport{.exchange = "hierarchical", .num_ranks = 9, .node_ranks = 3};
  const double formula = rows_kept(transport, {9.0 * rows, 9.0 * rows, false});
  EXPECT_NEAR(planned / formula, 1.0, 0.01);
  EXPECT_GT(formula, 20.0 * rows) << "more than what arrives";
}

TEST(MemoryNeed, HoldsTheMessagesOfABruckExchange) {
  constexpr Index row_bytes = 4096;
  for (const Index num_ranks : {2, 5, 8}) {
    const BruckPlan plan(num_ranks);
    Index bytes = 0;
    for (Index round = 0; round < plan.num_rounds(); ++round) {
      bytes += plan.message_bytes(round, std::ssize(plan.positions(round)) * rows * row_bytes);
    }
    const auto all = static_cast<double>(num_ranks * rows);
    const double planned = 2.0 * static_cast<double>(bytes) / row_bytes + all + all - static_cast<double>(rows);
    const double formula = rows_kept({.exchange = "bruck", .num_ranks = num_ranks, .node_ranks = 1}, {all, all, false});
    EXPECT_NEAR(planned / formula, 1.0, 0.01) << num_ranks << " ranks";
  }
}

}  // namespace
}  // namespace conclave::plan
