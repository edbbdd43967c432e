// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/expected_max.hpp"

#include "runtime/sim/expert_loads.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace conclave::sim {
namespace {

// A count of `mean` on average, as a popular event's among very many trials.
Moments counted(double mean) { return {mean, mean, mean}; }

// E[max] of n equal counts by the definition: sum of 1 - F(k)^n, F summed up from the Poisson probabilities.
double plain_expected_max(double mean, double n) {
  double chance = std::exp(-mean);
  double below = 0.0;
  double sum = 0.0;
  for (double k = 0.0; k < mean + 40.0 * std::sqrt(mean) + 40.0; k += 1.0) {
    below += chance;
    sum += 1.0 - std::pow(std::min(1.0, below), n);
    chance *= mean / (k + 1.0);
  }
  return sum;
}

TEST(ExpectedMax, OfAFairRouterIsWhatBallsInBinsGive) {
  for (const double mean : {4.0, 30.0, 256.0}) {
    for (const double n : {2.0, 64.0, 4096.0, 131072.0}) {
      const std::vector<Moments> bins(static_cast<std::size_t>(n), counted(mean));
      const double plain = plain_expected_max(mean, n);
      EXPECT_NEAR(expected_max(bins), plain, 0.02 * plain + 0.5) << mean << " in each of " << n;
    }
  }
  EXPECT_NEAR(expected_max(std::vector<Moments>(64, counted(256.0))) / 256.0, 1.15, 0.01);
  EXPECT_NEAR(expected_max(std::vector<Moments>(131072, counted(256.0))) / 256.0, 1.29, 0.01);
}

TEST(ExpectedMax, OfFewIsKnown) {
  EXPECT_EQ(expected_max({}), 0.0);
  EXPECT_NEAR(expected_max(std::vector<Moments>{{7.0, 4.0, 0.0}}), 7.0, 1e-3);
  // Two normal ones: mean + sigma / sqrt(pi).
  EXPECT_NEAR(expected_max(std::vector<Moments>(2, {7.0, 4.0, 0.0})), 7.0 + 2.0 / std::sqrt(std::numbers::pi), 1e-3);
  const std::vector<Moments> certain{{3.0, 0.0, 0.0}, {5.0, 0.0, 0.0}, {4.0, 0.0, 0.0}};
  EXPECT_EQ(expected_max(certain), 5.0);
}

TEST(ExpectedMax, ThoseThatCannotWinDoNotCount) {
  std::vector<Moments> amounts(3, counted(1000.0));
  const double few = expected_max(amounts);
  for (int i = 0; i < 5000; ++i) amounts.push_back(counted(10.0 + 0.01 * i));
  EXPECT_NEAR(expected_max(amounts), few, 1e-3 * few);
  EXPECT_GT(few, 1010.0);
}

TEST(CappedBinomial, IsWhatTheDefinitionGives) {
  for (const double most : {2.0, 5.0, 9.0, 40.0}) {
    const double trials = 24.0;
    const double p = 0.3;
    double mean = 0.0;
    double two = 0.0;
    double three = 0.0;
    for (double n = 0.0; n <= trials; n += 1.0) {
      const double chance = std::exp(std::lgamma(trials + 1.0) - std::lgamma(n + 1.0) - std::lgamma(trials - n + 1.0) +
                                     n * std::log(p) + (trials - n) * std::log1p(-p));
      const double x = std::min(n, most);
      mean += chance * x;
      two += chance * x * x;
      three += chance * x * x * x;
    }
    const Moments m = capped_binomial(trials, p, most);
    EXPECT_NEAR(m.mean, mean, 1e-9) << most;
    EXPECT_NEAR(m.variance, two - mean * mean, 1e-9) << most;
    EXPECT_NEAR(m.third, three - 3.0 * mean * two + 2.0 * mean * mean * mean, 1e-8) << most;
  }
  EXPECT_EQ(capped_binomial(24.0, 1.0, 10.0), (Moments{10.0, 0.0, 0.0}));
  EXPECT_EQ(capped_binomial(24.0, 0.0, 10.0), (Moments{0.0, 0.0, 0.0}));
  EXPECT_NEAR(capped_binomial(1e6, 1e-3, 1e6).mean, 1000.0, 1e-9);
}

Workload layer_of(Index experts, double choices, Index slots) {
  Workload w{.groups = 4, .passes = 2, .group_tokens = 64, .context = 64};
  w.moe.experts.assign(static_cast<std::size_t>(experts), {8, 16, 2, 256});
  w.moe.choices = choices;
  w.moe.slots = slots;
  w.moe.competing = w.group_tokens;
  return w;
}

TEST(ExpertLoads, KeepWhatHasSlots) {
  const ExpertLoads open = expected_loads(layer_of(8, 2.0, 64), std::vector<double>(8, 0.125));
  EXPECT_EQ(open.claimed, 256.0) << "2 groups of 64 tokens with 2 choices are a pass";
  EXPECT_NEAR(open.kept(), 256.0, 1e-9);
  EXPECT_NEAR(open.drop_rate(), 0.0, 1e-12);
  EXPECT_NEAR(open.rows[3].variance, 2.0 * 64.0 * 0.25 * 0.75, 1e-9);
  const ExpertLoads tight = expected_loads(layer_of(8, 2.0, 16), std::vector<double>(8, 0.125));
  EXPECT_GT(tight.drop_rate(), 0.05) << "even a fair router drops where there are as many slots as rows";
  EXPECT_LT(tight.drop_rate(), 0.15);
}

TEST(ExpertLoads, NoTokenChoosesAnExpertTwice) {
  // The first expert is chosen by all; its second choice goes to the others by their popularity.
  const ExpertLoads loads = expected_loads(layer_of(4, 2.0, 64), std::vector<double>{0.7, 0.15, 0.1, 0.05});
  EXPECT_EQ(loads.rows[0], (Moments{128.0, 0.0, 0.0}));
  EXPECT_NEAR(loads.rows[1].mean, 64.0, 1e-9);
  EXPECT_NEAR(loads.rows[3].mean, 128.0 / 6.0, 1e-9);
  EXPECT_NEAR(loads.kept(), 256.0, 1e-9);
  const ExpertLoads one_slot = expected_loads(layer_of(4, 2.0, 1), std::vector<double>{1.0, 0.0, 0.0, 0.0});
  EXPECT_EQ(one_slot.rows[0].mean, 2.0) << "one slot in each of two groups";
}

TEST(ExpectedMax, AmountsThatAlmostAlwaysReachTheirCapAreHardlyMore) {
  for (const double chance : {0.4, 0.5, 0.7, 0.9}) {
    const Moments full = capped_binomial(64.0, chance, 20.0).repeated(6.0);
    const std::vector<Moments> amounts{full, {100.0, 25.0, 1.0}, {90.0, 9.0, 0.0}};
    EXPECT_LE(expected_max(amounts), 1.002 * 120.0) << chance;
    EXPECT_GE(expected_max(amounts), full.mean) << chance;
    EXPECT_NEAR(distribution(full, 123.0), 1.0, 0.01) << chance;
  }
}

}  // namespace
}  // namespace conclave::sim
