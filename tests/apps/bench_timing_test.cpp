// SPDX-License-Identifier: BSD-3-Clause
#include "apps/bench.hpp"

#include "tests/support/mpi_world.hpp"

#include <gtest/gtest.h>

#include <thread>

namespace conclave::apps {
namespace {

using test::world;

TEST(TimedInTurn, CallsThingsInTurnAndShortOnesSeveralTimes) {
  std::string calls;
  const auto timings = timed_in_turn(world(), 3, Across::slowest_rank,
                                     {[&] {
                                        calls += 'a';
                                        std::this_thread::sleep_for(std::chrono::milliseconds(3));
                                      },
                                      [&] { calls += calls.back() == 'b' ? "" : "b"; }});
  ASSERT_EQ(timings.size(), 2U);
  EXPECT_EQ(calls, "aabababab") << "twice each before it counts, then three times in turn";
  EXPECT_EQ(timings[0].calls, 1);
  EXPECT_GT(timings[1].calls, 1);
  for (const Timings& t : timings) {
    ASSERT_EQ(t.seconds.size(), 3U);
    EXPECT_EQ(world().max(t.median()), -world().max(-t.median())) << "every rank tells the same";
  }
  EXPECT_GE(timings[0].min(), 3e-3);
}

TEST(TimedInTurn, TellsEveryRanksTimesOrTheSlowest) {
  const auto late = std::chrono::milliseconds(world().rank() == RankId{0} ? 12 : 3);
  const std::vector<std::function<void()>> things{[&] { std::this_thread::sleep_for(late); }};
  const Timings slowest = timed_in_turn(world(), 2, Across::slowest_rank, things)[0];
  EXPECT_GE(slowest.min(), 12e-3);
  const Timings every = timed_in_turn(world(), 2, Across::every_rank, things)[0];
  EXPECT_EQ(std::ssize(every.seconds), 2 * world().size());
  EXPECT_GE(every.max(), 12e-3);
  EXPECT_GE(every.min(), 3e-3);
  const Timings gathered = of_every_rank(world(), {static_cast<double>(world().rank().value())});
  for (Index r = 0; r < world().size(); ++r) EXPECT_EQ(gathered.seconds[static_cast<std::size_t>(r)], r);
}

}  // namespace
}  // namespace conclave::apps
