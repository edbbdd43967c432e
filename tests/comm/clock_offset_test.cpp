// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/clock_offset.hpp"

#include "comm/mpi/gather_texts.hpp"
#include "tests/support/mpi_world.hpp"

#include <gtest/gtest.h>

namespace conclave::comm {
namespace {

using test::world;

// The ranks of one host have one steady clock: they are apart by nothing, as far as can be measured.
TEST(ClockOffset, OnOneHostClocksAreTogetherWithinTheUncertainty) {
  if (world().topology().num_nodes() > 1) GTEST_SKIP() << "several hosts";
  const ClockOffset offset = measure_clock_offset(world());
  EXPECT_LE(std::abs(offset.seconds), offset.uncertainty_s + 1e-9);
  EXPECT_EQ(offset.uncertainty_s == 0.0, world().is_root());
  EXPECT_LT(offset.uncertainty_s, 10.0);
  const Clock::time_point now = Clock::now();
  EXPECT_LE(offset.at, now);
}

TEST(ClockOffset, LiesOnTheLineThroughTwoMeasurements) {
  const Clock::time_point start{};
  const auto at = [&](int seconds) { return start + std::chrono::seconds(seconds); };
  const ClockOffset before{at(100), 2.0, 0.0};
  const ClockOffset after{at(200), 3.0, 0.0};
  EXPECT_DOUBLE_EQ(offset_at(at(100), before, after), 2.0);
  EXPECT_DOUBLE_EQ(offset_at(at(150), before, after), 2.5);
  EXPECT_DOUBLE_EQ(offset_at(at(200), before, after), 3.0);
  EXPECT_DOUBLE_EQ(offset_at(at(150), before, before), 2.0) << "one measurement is no line";
}

TEST(ClockOffset, OfNoRoundsIsRefused) { EXPECT_THROW((void)measure_clock_offset(world(), 0), InvariantError); }

TEST(GatherTexts, TheRootHearsEveryRankInOrder) {
  const auto text_of = [](Index rank) {
    return rank % 3 == 1 ? std::string() : std::string(static_cast<std::size_t>(1 + 100000 * rank), char('a' + rank));
  };
  std::vector<std::string> heard;
  gather_texts(world(), text_of(world().rank().value()), [&](std::string_view text) { heard.emplace_back(text); });
  if (!world().is_root()) {
    EXPECT_TRUE(heard.empty());
    return;
  }
  ASSERT_EQ(std::ssize(heard), world().size());
  for (Index rank = 0; rank < world().size(); ++rank) EXPECT_EQ(heard[static_cast<std::size_t>(rank)], text_of(rank));
}

}  // namespace
}  // namespace conclave::comm
