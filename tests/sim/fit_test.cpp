// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/error.hpp"
#include "runtime/core/random.hpp"
#include "runtime/sim/line_fit.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace conclave::sim {
namespace {

using Costs = std::array<double, most_terms>;

const Random drawn(17, RandomStream::corpus);

// Amounts as training steps have them, the five of very different size and each varying by itself.
std::vector<Observation> cases(Index count, const Costs& costs, Index seed = 0) {
  std::vector<Observation> result;
  for (Index i = 0; i < count; ++i) {
    const auto amount = [&](Index k, double least, double most) {
      return least * std::pow(most / least, drawn.uniform(i, 10 * seed + k));
    };
    Observation o{
        {amount(0, 10.0, 1e4), amount(1, 1e6, 1e10), amount(2, 1e5, 1e9), amount(3, 1e4, 1e8), amount(4, 1e3, 1e7)},
        0.0};
    for (std::size_t k = 0; k < most_terms; ++k) o.seconds += costs[k] * o.amounts[k];
    result.push_back(o);
  }
  return result;
}

void disturb(std::vector<Observation>& observations, double sigma, Index seed) {
  for (std::size_t i = 0; i < observations.size(); ++i) {
    observations[i].seconds *= 1.0 + sigma * drawn.normal(static_cast<Index>(i), 1000 + seed);
  }
}

const Costs truth{2e-6, 1e-11, 2e-10, 2e-9, 2e-8};

void expect_near(const TermsFit& fit, const Costs& costs, double tolerance) {
  for (std::size_t k = 0; k < most_terms; ++k) {
    EXPECT_NEAR(fit.costs[k].value, costs[k], tolerance * (costs[k] + 1e-14)) << k;  // a cost of 0 to rounding
    EXPECT_LE(fit.costs[k].low, fit.costs[k].value);
    EXPECT_GE(fit.costs[k].high, fit.costs[k].value);
    EXPECT_GE(fit.costs[k].low, 0.0);
  }
}

TEST(FitTerms, FindsTheCostsOfExactData) {
  for (const Costs& costs : {truth, Costs{0.0, 1e-11, 2e-10}, Costs{2e-6, 0.0, 0.0}, Costs{0.0, 0.0, 2e-10}}) {
    const TermsFit fit = fit_terms(cases(12, costs));
    expect_near(fit, costs, 1e-9);
    EXPECT_LT(fit.residual_sigma, 1e-9);
    EXPECT_LT(fit.costs[1].high - fit.costs[1].low, 1e-9 * truth[1]);
  }
}

TEST(FitTerms, ThingsThatNeverOccurCostNothing) {
  std::vector<Observation> two = cases(12, {2e-6, 0.0, 2e-10});
  for (Observation& o : two) o.amounts[1] = 0.0;
  expect_near(fit_terms(two), {2e-6, 0.0, 2e-10}, 1e-9);
  EXPECT_EQ(fit_terms(two).costs[1], Fitted{});
}

// What plain least squares would make negative.
TEST(FitTerms, NoCostIsNegative) {
  std::vector<Observation> observations = cases(12, {0.0, 1e-11, 0.0});
  for (Observation& o : observations) o.seconds -= 0.3e-11 * o.amounts[1] * (o.amounts[2] > 1e7 ? 1.0 : 0.0);
  const TermsFit fit = fit_terms(observations);
  EXPECT_EQ(fit.costs[2].value, 0.0);
  EXPECT_GT(fit.costs[1].value, 0.5e-11);
}

TEST(FitTerms, OutliersMoveLittle) {
  std::vector<Observation> observations = cases(40, truth);
  disturb(observations, 0.02, 0);
  const TermsFit without = fit_terms(observations);
  for (const std::size_t i : {3U, 11U, 22U, 37U}) observations[i].seconds *= 6.0;
  const TermsFit with = fit_terms(observations);
  expect_near(with, truth, 0.1);
  for (std::size_t k = 0; k < most_terms; ++k) {
    EXPECT_NEAR(with.costs[k].value, without.costs[k].value, 0.05 * truth[k]) << k;
  }
  EXPECT_NEAR(with.residuals[3], -5.0 / 6.0, 0.02);
  EXPECT_LT(with.median_residual(), 0.03);
}

TEST(FitTerms, IntervalsHoldTheTruthInNineOfTenCases) {
  constexpr Index trials = 150;
  std::array<Index, most_terms> held{};
  FitOptions options;
  options.resamples = 100;
  for (Index trial = 0; trial < trials; ++trial) {
    std::vector<Observation> observations = cases(30, truth, trial);
    disturb(observations, 0.05, trial);
    const TermsFit fit = fit_terms(observations, options);
    for (std::size_t k = 0; k < most_terms; ++k) {
      held[k] += fit.costs[k].low <= truth[k] && truth[k] <= fit.costs[k].high ? 1 : 0;
    }
  }
  // A binomial of 150 and 0.9 has a sigma of 2.4 %.
  for (const Index count : held) {
    EXPECT_GE(count, 0.82 * trials);
    EXPECT_LE(count, 0.98 * trials);
  }
}

TEST(FitTerms, TellsHowFarMeasurementsLieOff) {
  std::vector<Observation> observations = cases(200, truth);
  disturb(observations, 0.05, 0);
  const TermsFit fit = fit_terms(observations);
  EXPECT_NEAR(fit.residual_sigma, 0.05, 0.01);
  EXPECT_NEAR(fit.median_residual(), 0.6745 * 0.05, 0.01);
}

TEST(FitTerms, GivesTheSameAgain) {
  std::vector<Observation> observations = cases(20, truth);
  disturb(observations, 0.05, 0);
  const TermsFit fit = fit_terms(observations);
  EXPECT_EQ(fit.costs, fit_terms(observations).costs);
  FitOptions other;
  other.seed = 2;
  EXPECT_EQ(fit.costs[0].value, fit_terms(observations, other).costs[0].value);
  EXPECT_NE(fit.costs[0].low, fit_terms(observations, other).costs[0].low);
}

template <class Fit>
void expect_refusal(const Fit& fit, const std::string& part) {
  try {
    static_cast<void>(fit());
    FAIL() << "no refusal: " << part;
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    EXPECT_FALSE(error.hint().empty());
  }
}

TEST(FitTerms, RefusesWhatSaysNothing) {
  const auto fit = [](std::vector<Observation> observations) { return [=] { return fit_terms(observations); }; };
  expect_refusal(fit({}), "0 observations of 0 things");
  expect_refusal(fit(cases(5, truth)), "5 observations of 5 things");
  expect_refusal(fit({{{0.0, 0.0, 0.0}, 1.0}, {{0.0, 0.0, 0.0}, 2.0}}), "2 observations of 0 things");
  std::vector<Observation> bad = cases(9, truth);
  for (Observation& o : bad) o.amounts[2] = 3.0 * o.amounts[1];
  expect_refusal(fit(bad), "the amounts of calls, flops, bytes, far bytes, elements are in fixed proportion");
  EXPECT_TRUE(are_in_proportion(bad));
  EXPECT_FALSE(are_in_proportion(cases(9, truth)));
  bad = cases(9, truth);
  bad[4].seconds = 0.0;
  expect_refusal(fit(bad), "a time of 0 s");
  bad[4] = {{1.0, -1.0, 1.0}, 1.0};
  expect_refusal(fit(bad), "an amount of -1");
  bad[4] = {{1.0, std::nan(""), 1.0}, 1.0};
  expect_refusal(fit(bad), "an amount of nan");
}

// 1 us and 4 GB/s below 4096 bytes, 3 us and 8 GB/s from there on.
std::vector<Transfer> messages(double sigma) {
  std::vector<Transfer> transfers;
  Index i = 0;
  for (double bytes = 1.0; bytes < 5e6; bytes *= 2.0) {
    const double seconds = bytes < 4096.0 ? 1e-6 + bytes / 4e9 : 3e-6 + bytes / 8e9;
    transfers.push_back({bytes, seconds * (1.0 + sigma * drawn.normal(i++, 5))});
  }
  return transfers;
}

TEST(FitKnee, FindsBothLinesAndWhereTheyMeet) {
  for (const double sigma : {0.0, 0.01}) {
    const KneeFit fit = fit_knee(messages(sigma));
    EXPECT_EQ(fit.from_bytes, 4096.0);
    const double tolerance = 1e-9 + 10.0 * sigma;
    EXPECT_NEAR(fit.below.latency_s.value, 1e-6, tolerance * 1e-6);
    EXPECT_NEAR(fit.below.Bps.value, 4e9, tolerance * 4e9);
    EXPECT_NEAR(fit.above.latency_s.value, 3e-6, tolerance * 3e-6);
    EXPECT_NEAR(fit.above.Bps.value, 8e9, tolerance * 8e9);
    EXPECT_LE(fit.above.Bps.low, fit.above.Bps.value);
    EXPECT_GE(fit.above.Bps.high, fit.above.Bps.value);
    ASSERT_EQ(fit.residuals.size(), messages(sigma).size());
  }
}

TEST(FitKnee, IsOneLineWhereOneIsEnough) {
  for (const double sigma : {0.0, 0.02}) {
    std::vector<Transfer> transfers;
    for (Index i = 0; i < 23; ++i) {
      const double bytes = std::exp2(static_cast<double>(i));
      transfers.push_back({bytes, (2e-6 + bytes / 5e9) * (1.0 + sigma * drawn.normal(i, 6))});
    }
    const KneeFit fit = fit_knee(transfers);
    EXPECT_EQ(fit.from_bytes, 0.0);
    EXPECT_EQ(fit.below, fit.above);
    EXPECT_NEAR(fit.below.Bps.value, 5e9, 0.1 * 5e9);
  }
}

TEST(FitLine, ABandwidthIsFinite) {
  const LineFit fit = fit_line(std::vector<Transfer>{{0.0, 1e-6}, {1.0, 1e-6}, {2.0, 1e-6}, {8.0, 1e-6}});
  EXPECT_EQ(fit.line.Bps, (Fitted{largest_Bps, largest_Bps, largest_Bps}));
  EXPECT_NEAR(fit.line.latency_s.value, 1e-6, 1e-15);
  expect_refusal(
      [] {
        return fit_line(std::vector<Transfer>{{8.0, 1e-6}, {8.0, 1e-6}, {8.0, 1e-6}});
      },
      "are in fixed proportion");
  expect_refusal([] { return fit_knee(std::vector<Transfer>{{8.0, 1e-6}, {9.0, 1e-6}}); }, "of 2 sizes");
}

}  // namespace
}  // namespace conclave::sim
