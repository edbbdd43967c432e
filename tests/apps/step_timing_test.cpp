// SPDX-License-Identifier: BSD-3-Clause
// What timings of steps are turned into, where the truth is known: no test here measures anything.
#include "apps/step_timing.hpp"
#include "apps/calibration.hpp"
#include "apps/training_workload.hpp"
#include "runtime/core/error.hpp"
#include "runtime/sim/expected_max.hpp"

#include <gmock/gmock.h>

#include <cmath>

namespace conclave::apps {
namespace {

// Rates that tell the phases apart.
sim::Rate rate_of(Phase phase) {
  const double factor = 1.0 + 0.1 * static_cast<double>(static_cast<int>(phase));
  const auto exact = [&](double value) { return sim::Fitted{value * factor, value * factor, value * factor}; };
  return {exact(1e-6), exact(2e-11), exact(3e-10), exact(2e-10), exact(4e-9)};
}

constexpr double cache_bytes = 67108864.0;  // one that is tried

sim::PhaseWork work_of(const sim::Workload& workload) {
  const double rows = workload.moe.choices * static_cast<double>(workload.tokens());
  const auto experts = static_cast<std::size_t>(workload.moe.num_experts());
  const std::vector<std::vector<double>> even(static_cast<std::size_t>(workload.moe_blocks),
                                              std::vector<double>(experts, rows / static_cast<double>(experts)));
  return sim::step_work(workload, ExpertMap::contiguous(workload.moe.num_experts(), 1), RankId{0}, even);
}

// What a machine of those rates takes, its steps being 1 % apart.
std::vector<StepTiming> timings_of(bool quick) {
  std::vector<StepTiming> timings;
  for (const CalibrationShape& shape : calibration_shapes(quick)) {
    const sim::Workload workload = training_workload(shape.options, {.vocabulary = 256});
    StepTiming t{.name = shape.name, .work = work_of(workload), .footprint_bytes = sim::step_footprint(workload, 1)};
    const double far_share = sim::far_share(t.footprint_bytes, cache_bytes);
    for (const auto& entry : enum_names(Phase{})) {
      const auto p = static_cast<std::size_t>(entry.value);
      t.phases_s[p] = rate_of(entry.value).seconds(t.work[p], far_share);
      t.step_s += t.phases_s[p];
    }
    t.seconds = {t.step_s, 0.99 * t.step_s, 1.01 * t.step_s};
    t.rounds = {3};
    timings.push_back(std::move(t));
  }
  return timings;
}

constexpr std::array all_phases{Phase::data,     Phase::embedding, Phase::attention, Phase::gate,
                                Phase::dispatch, Phase::experts,   Phase::combine,   Phase::dense,
                                Phase::head,     Phase::reduce,    Phase::optimizer, Phase::other};

TEST(CalibrationShapes, AreUnlikeAndValid) {
  for (const bool quick : {true, false}) {
    std::set<std::string> names;
    for (const CalibrationShape& shape : calibration_shapes(quick)) {
      EXPECT_NO_THROW(train::validate(shape.options)) << shape.name;
      EXPECT_TRUE(names.insert(shape.name).second) << shape.name;
    }
    EXPECT_GT(names.size(), quick ? 8U : 20U);
  }
}

TEST(FitRates, FindsTheRatesOfEveryPhase) {
  for (const bool quick : {true, false}) {
    const CacheFit all = fit_rates(std::vector<TimedShapes>{{4, 2, timings_of(quick)}});
    EXPECT_EQ(all.cache_bytes, cache_bytes);
    ASSERT_EQ(all.rates.size(), 1U);
    const RatesFit& fit = all.rates[0];
    EXPECT_EQ(fit.rates.active_ranks, 4);
    EXPECT_EQ(fit.rates.threads, 2);
    EXPECT_EQ(fit.phases.size(), all_phases.size());
    EXPECT_EQ(fit.drift_sigma, 0.0) << "there is one round";
    for (const Phase phase : all_phases) {
      SCOPED_TRACE(name_of(phase));
      const sim::Rate& rate = fit.rates.of(phase);
      for (const StepTiming& t : timings_of(quick)) {
        const double far_share = sim::far_share(t.footprint_bytes, cache_bytes);
        const double seconds = rate_of(phase).seconds(sim::of(t.work, phase), far_share);
        EXPECT_NEAR(rate.seconds(sim::of(t.work, phase), far_share), seconds, 1e-6 * seconds) << t.name;
      }
    }
    for (const Phase phase : {Phase::attention, Phase::gate, Phase::experts, Phase::dense, Phase::head}) {
      const double truth = rate_of(phase).s_per_flop.value;
      EXPECT_NEAR(fit.rates.of(phase).s_per_flop.value, truth, 1e-3 * truth) << name_of(phase);
    }
    EXPECT_TRUE(fit.doubts().empty());
    EXPECT_EQ(fit.residuals.size(), timings_of(quick).size());
    for (const double residual : fit.residuals) EXPECT_NEAR(residual, 0.0, 1e-6);
  }
}

// Quantiles of the normal distribution, so that few steps have its deviation.
std::vector<double> steps_about(double mean, double deviation) {
  std::vector<double> seconds;
  for (const double quantile : {-1.645, -0.8, -0.4, 0.0, 0.4, 0.8, 1.645}) {
    seconds.push_back(mean + deviation * quantile);
  }
  return seconds;
}

// Most waits are short, and a rare one is endless: 0.95 of them have the mean.
std::vector<double> waits_about(double mean, bool has_rare) {
  std::vector<double> seconds;
  for (const double share : {0.1, 0.2, 0.5, 0.8, 1.2, 1.8, 2.4}) seconds.push_back(mean * share);
  if (has_rare) seconds.back() *= 50.0;
  return seconds;
}

// Three rounds of 7 steps, of which ranks differ by the noise.
std::vector<StepTiming> noisy_timings(const sim::Noise& noise, Index ranks) {
  std::vector<StepTiming> timings = timings_of(false);
  for (StepTiming& t : timings) {
    const StepTiming truth = t;
    t = {.name = truth.name,
         .work = truth.work,
         .footprint_bytes = truth.footprint_bytes,
         .phases_s = truth.phases_s,
         .step_s = truth.step_s,
         .ranks = ranks};
    for (const double round : {0.94, 1.0, 1.06}) {
      StepTiming more{.seconds = steps_about(round * truth.step_s, 0.0), .rounds = {7}};
      for (std::size_t p = 0; p < num_phases; ++p) {
        const double deviation_s = noise.deviation_s(truth.phases_s[p]);
        more.phases[p] = steps_about(round * truth.phases_s[p], ranks == 1 ? deviation_s : 0.0);
        if (ranks > 1) more.gaps[p] = waits_about(deviation_s * sim::deviations_of_largest(ranks), round < 1.0);
      }
      t.add(more);
    }
  }
  return timings;
}

TEST(FitRates, TellsWhatSlowsAStepDownFromInterruptionsAndFromDrift) {
  const sim::Noise truth{0.02, 4e-7};
  for (const Index ranks : {1, 2, 5}) {
    SCOPED_TRACE(fmt::format("{} ranks", ranks));
    const RatesFit fit = fit_rates(std::vector<TimedShapes>{{ranks, 1, noisy_timings(truth, ranks)}}).rates[0];
    // What one rank's few steps are apart is told with their number in mind; what ranks are apart is seen.
    const double exactness = ranks == 1 ? 0.3 : 1e-3;
    EXPECT_NEAR(fit.noise.sigma, truth.sigma, exactness * truth.sigma);
    EXPECT_NEAR(fit.noise.jitter_s, truth.jitter_s, exactness * truth.jitter_s);
    EXPECT_NEAR(fit.drift_sigma, std::sqrt(2.0) * 0.06 / 1.645, 1e-3) << "two of three rounds are as far off";
  }
}

TEST(FitRates, NamesTheShapesThatFitWorst) {
  std::vector<StepTiming> timings = timings_of(false);
  for (std::size_t i = 0; i < timings.size(); ++i) {
    timings[i].phases_s[static_cast<std::size_t>(Phase::head)] *= i % 2 == 0 ? 1.5 : 0.7;
  }
  timings[5].phases_s[static_cast<std::size_t>(Phase::head)] *= 9.0;
  const std::vector<std::string> doubts = fit_rates(std::vector<TimedShapes>{{2, 1, timings}}).rates[0].doubts();
  ASSERT_EQ(doubts.size(), 1U);
  EXPECT_THAT(doubts[0], testing::StartsWith("head is off by "));
  EXPECT_THAT(doubts[0], testing::HasSubstr("with 2 busy ranks"));
}

TEST(FitRates, RefusesTooFewShapes) {
  std::vector<StepTiming> timings = timings_of(true);
  timings.resize(2);
  try {
    static_cast<void>(fit_rates(std::vector<TimedShapes>{{1, 1, timings}}));
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), testing::StartsWith("phase embedding: 2 observations of 2 things"));
  }
}

Calibration example() {
  Calibration c;
  c.compute = fit_rates(std::vector<TimedShapes>{{1, 1, timings_of(true)}, {2, 1, timings_of(true)}});
  c.node = MessageFit{{{{1e-6, 1e-6, 1e-6}, {4e9, 3e9, 5e9}}, {{2e-6, 2e-6, 2e-6}, {8e9, 8e9, 8e9}}, 4096.0, {}},
                      {0.1, -0.1, 0.1, -0.1, 0.1, -0.1}};
  c.shared_memory =
      SharedMemoryFit{{{1e-6, 1e-6, 1e-6}, {6e9, 6e9, 6e9}}, {{1e-6, 1e-6, 1e-6}, {9e9, 9e9, 9e9}}, {0.0}};
  c.file = {{{1e-3, 1e-3, 1e-3}, {5e8, 4e8, 6e8}}, {0.02}};
  c.provenance.host = "node17";
  c.provenance.ranks = 2;
  return c;
}

TEST(Calibration, BecomesAMachine) {
  Calibration c = example();
  c.compute.rates[1].phases[0].fit.residual_sigma = 0.3;
  const sim::Machine m = machine_of(c);
  EXPECT_EQ(sim::read_machine(sim::machine_text(m), "m"), m);
  ASSERT_EQ(m.compute.size(), 2U);
  EXPECT_EQ(m.cache_bytes, cache_bytes);
  EXPECT_EQ(m.residual_sigma[static_cast<std::size_t>(c.compute.rates[1].phases[0].phase)], 0.3);
  EXPECT_GT(m.residual_sigma[static_cast<std::size_t>(Phase::wait)], 0.05);
  EXPECT_EQ(m.node->rendezvous_from_bytes, 4096.0);
  EXPECT_FALSE(m.network.has_value());
  EXPECT_EQ(m.shared_memory->copy_Bps.value, 6e9);
  EXPECT_EQ(m.file->write_Bps.low, 4e8);
  EXPECT_EQ(m.provenance.host, "node17");
}

TEST(Calibration, TellsEveryParameter) {
  const std::string text = table_text(example());
  for (const Phase phase : all_phases) EXPECT_THAT(text, testing::HasSubstr(fmt::format("\n  {} ", name_of(phase))));
  EXPECT_THAT(text, testing::HasSubstr("a whole step: off by 0.0 %"));
  EXPECT_THAT(text, testing::HasSubstr("m / (m + 67 MB)"));
  EXPECT_THAT(text, testing::HasSubstr("node, messages below 4096 bytes"));
  EXPECT_THAT(text, testing::HasSubstr("4 (3-5)"));
  EXPECT_THAT(text, testing::Not(testing::HasSubstr("network")));
  EXPECT_THAT(text, testing::HasSubstr("0.5 (0.4-0.6)"));
}

}  // namespace
}  // namespace conclave::apps
