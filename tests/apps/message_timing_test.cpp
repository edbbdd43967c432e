// SPDX-License-Identifier: BSD-3-Clause
// That messages and shared memory are measured wherever there are ranks for it; not how fast they are.
#include "apps/message_timing.hpp"
#include "tests/support/mpi_world.hpp"

#include <gtest/gtest.h>

namespace conclave::apps {
namespace {

constexpr TransferBudget tiny{.largest_bytes = 65536.0, .repeats = 1, .seconds = 1e-5};

void expect_interval(const sim::Fitted& fitted) {
  EXPECT_LE(0.0, fitted.low);
  EXPECT_LE(fitted.low, fitted.value);
  EXPECT_LE(fitted.value, fitted.high);
}

TEST(TimeMessages, MeasuresRankZeroWithTheLastOfItsNode) {
  const comm::Communicator& world = test::world();
  const auto fit = time_messages(world, plan::Level::node, tiny);
  const bool takes_part = world.size() > 1 && (world.is_root() || world.rank() == RankId{world.size() - 1});
  ASSERT_EQ(fit.has_value(), takes_part);
  if (!fit) return;
  EXPECT_GT(fit->costs.eager.Bps.low, 0.0);
  EXPECT_GT(fit->costs.rendezvous.Bps.low, 0.0);
  expect_interval(fit->costs.eager.latency_s);
  expect_interval(fit->costs.post_s);
  expect_interval(fit->costs.busy_s_per_byte);
  EXPECT_GE(fit->residuals.size(), 12U);
}

TEST(TimeMessages, NothingBetweenNodesWhereThereIsOne) {
  EXPECT_FALSE(time_messages(test::world(), plan::Level::network, tiny).has_value());
}

TEST(TimeSharedMemory, MeasuresAllRanksOfANode) {
  const comm::Communicator& world = test::world();
  const auto fit = time_shared_memory(world, tiny);
  ASSERT_EQ(fit.has_value(), world.size() > 1);
  if (!fit) return;
  EXPECT_GT(fit->costs.copy_Bps.low, 0.0);
  EXPECT_GT(fit->one_writes.copy_Bps.low, 0.0);
  expect_interval(fit->costs.synchronise_s);
}

}  // namespace
}  // namespace conclave::apps
