// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/trace.hpp"

#include "runtime/core/clock.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <thread>

namespace conclave {
namespace {

constexpr std::chrono::milliseconds pause{5};
constexpr double pause_s = 0.005;

double total(const PhaseTimes& times) { return std::accumulate(times.all().begin(), times.all().end(), 0.0); }

// A sleep lasts at least as long as asked for, so lower bounds hold on any machine; sums are bounded from above by the
// clock around them.
TEST(PhaseScope, InnerScopesTakeTheirShareOut) {
  PhaseTimes times;
  const auto start = Clock::now();
  {
    const PhaseScope experts(times, Phase::experts);
    std::this_thread::sleep_for(pause);
    {
      const PhaseScope dispatch(times, Phase::dispatch);
      std::this_thread::sleep_for(pause);
      {
        const PhaseScope combine(times, Phase::combine);
        std::this_thread::sleep_for(pause);
      }
      std::this_thread::sleep_for(pause);
    }
    std::this_thread::sleep_for(pause);
  }
  const double elapsed = seconds_since(start);
  EXPECT_GE(times.seconds(Phase::experts), 2 * pause_s);
  EXPECT_GE(times.seconds(Phase::dispatch), 2 * pause_s);
  EXPECT_GE(times.seconds(Phase::combine), pause_s);
  EXPECT_EQ(times.seconds(Phase::gate), 0.0);
  EXPECT_LE(total(times), elapsed) << "no time is counted twice";
}

TEST(PhaseScope, APhaseMayBeInsideItselfAndComeAgain) {
  PhaseTimes times;
  const auto start = Clock::now();
  for (int round = 0; round < 2; ++round) {
    const PhaseScope outer(times, Phase::dense);
    std::this_thread::sleep_for(pause);
    const PhaseScope inner(times, Phase::dense);
    std::this_thread::sleep_for(pause);
  }
  const double elapsed = seconds_since(start);
  EXPECT_GE(times.seconds(Phase::dense), 4 * pause_s);
  EXPECT_LE(total(times), elapsed);
  times.clear();
  EXPECT_EQ(total(times), 0.0);
}

TEST(PhaseScope, EndsWithAnException) {
  PhaseTimes times;
  const PhaseScope outer(times, Phase::other);
  try {
    const PhaseScope inner(times, Phase::gate);
    std::this_thread::sleep_for(pause);
    throw 1;
  } catch (int) {
  }
  const double gate_s = times.seconds(Phase::gate);
  EXPECT_GE(gate_s, pause_s);
  std::this_thread::sleep_for(pause);
  EXPECT_EQ(times.seconds(Phase::gate), gate_s);
}

TEST(Phase, EveryPhaseHasItsNameInItsPlace) {
  for (std::size_t i = 0; i < num_phases; ++i) {
    EXPECT_EQ(enum_names(Phase{})[i].value, static_cast<Phase>(i));
    EXPECT_FALSE(enum_names(Phase{})[i].name.empty());
  }
  EXPECT_EQ(name_of(Phase::reduce), "reduce");
}

}  // namespace
}  // namespace conclave
