// SPDX-License-Identifier: BSD-3-Clause
// When a slow rank is named, and what is said of it.
#include "runtime/train/straggler_watch.hpp"

#include <gtest/gtest.h>

namespace conclave::train {
namespace {

using Times = std::vector<std::array<double, num_phases>>;

std::array<double, num_phases> times(double attention_s, double experts_s, double wait_s) {
  std::array<double, num_phases> seconds{};
  seconds[static_cast<std::size_t>(Phase::attention)] = attention_s;
  seconds[static_cast<std::size_t>(Phase::experts)] = experts_s;
  seconds[static_cast<std::size_t>(Phase::wait)] = wait_s;
  return seconds;
}

std::string add(StragglerWatch& watch, Index step, const Times& of_ranks) {
  return watch.add(step, [&](RankId rank) { return std::span(of_ranks[static_cast<std::size_t>(rank.value())]); });
}

const Times even{times(0.1, 0.1, 0.3), times(0.1, 0.12, 0.0), times(0.11, 0.1, 0.0), times(0.1, 0.1, 0.0)};
const Times third_slow{times(0.1, 0.1, 0.3), times(0.1, 0.1, 0.3), times(0.12, 0.38, 0.0), times(0.1, 0.1, 0.3)};

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

TEST(StragglerWatch, NamesTheSlowRankItsTimesAndThePhaseAtTheEndOfAWindow) {
  StragglerWatch watch({.straggler_alarm = 1.5, .straggler_window = 2}, 4);
  EXPECT_EQ(add(watch, 1, third_slow), "");
  const std::string alarm = add(watch, 2, third_slow);
  EXPECT_TRUE(contains(alarm, "step 2: the others wait for rank 2")) << alarm;
  EXPECT_TRUE(contains(alarm, "500.0 ms a step")) << alarm;
  EXPECT_TRUE(contains(alarm, "the median rank for 200.0 ms")) << alarm;
  EXPECT_TRUE(contains(alarm, "280.0 ms of the difference are in experts")) << alarm;
}

TEST(StragglerWatch, WaitingIsNotComputing) {
  StragglerWatch watch({.straggler_alarm = 1.5, .straggler_window = 1}, 4);
  EXPECT_EQ(add(watch, 1, even), "") << "rank 0 waits the longest";
}

TEST(StragglerWatch, SaysItOnceUntilTheRankIsBack) {
  StragglerWatch watch({.straggler_alarm = 1.5, .straggler_window = 1}, 4);
  EXPECT_NE(add(watch, 1, third_slow), "");
  EXPECT_EQ(add(watch, 2, third_slow), "");
  EXPECT_EQ(add(watch, 3, even), "");
  EXPECT_NE(add(watch, 4, third_slow), "");
}

TEST(StragglerWatch, TheFasterOfTwoRanksIsTheMeasure) {
  StragglerWatch watch({.straggler_alarm = 1.5, .straggler_window = 1}, 2);
  EXPECT_TRUE(contains(add(watch, 1, {third_slow[0], third_slow[2]}), "rank 1"));
}

TEST(StragglerWatch, LeavesMicrosecondsAndLoneRanksAlone) {
  StragglerWatch watch({.straggler_alarm = 1.5, .straggler_window = 1}, 2);
  EXPECT_EQ(add(watch, 1, {times(1e-5, 0, 0), times(9e-4, 0, 0)}), "") << "less than a millisecond";
  StragglerWatch alone({.straggler_alarm = 1.5, .straggler_window = 1}, 1);
  EXPECT_EQ(add(alone, 1, {times(1, 1, 1)}), "");
  StragglerWatch never({.straggler_alarm = 0.0, .straggler_window = 1}, 4);
  EXPECT_EQ(add(never, 1, third_slow), "");
}

TEST(WatchOptions, ValuesOutOfRangeAreRefused) {
  for (const WatchOptions& wrong : {WatchOptions{.hang_timeout = -1.0}, WatchOptions{.hang_timeout = 0.5},
                                    WatchOptions{.straggler_alarm = 1.0}, WatchOptions{.straggler_window = 0}}) {
    EXPECT_THROW(validate(wrong), InputError);
  }
  EXPECT_NO_THROW(validate({.hang_timeout = 0.0, .straggler_alarm = 0.0}));
}

}  // namespace
}  // namespace conclave::train
