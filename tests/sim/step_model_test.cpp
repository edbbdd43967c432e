// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/step_model.hpp"

#include <gtest/gtest.h>

#include "tests/sim/clusters.hpp"

namespace conclave::sim {
namespace {

double phase_s(const StepPrice& price, std::string_view name) {
  for (const PhaseTime& phase : price.phases) {
    if (phase.name == name) return phase.time_s;
  }
  ADD_FAILURE() << name;
  return 0.0;
}

double sum_s(const StepPrice& price) {
  double sum = 0.0;
  for (const PhaseTime& phase : price.phases) sum += phase.time_s;
  return sum;
}

TEST(StepModel, OneWaveOverlapsNothing) {
  for (const Cluster& cluster : all_kinds()) {
    SCOPED_TRACE(text_of(cluster));
    const Network network(cluster);
    StepOptions options{.bytes_per_rank = 1e6, .flops_per_rank = 1e7, .gradient_bytes = 1e6};
    const Popularity popularity = Popularity::uniform(cluster.num_ranks());
    const StepPrice one = price_step(network, popularity, options);
    EXPECT_EQ(one.hidden_s, 0.0);
    EXPECT_NEAR(one.time_s, sum_s(one), 1e-12 * one.time_s);
    options.waves = 3;
    const StepPrice three = price_step(network, popularity, options);
    EXPECT_NEAR(three.time_s, sum_s(three) - three.hidden_s, 1e-12 * three.time_s);
    EXPECT_EQ(three.hidden_s > 0.0, cluster.num_ranks() > 1);
    EXPECT_LE(three.hidden_s, std::min(phase_s(three, "dispatch"), phase_s(three, "gemm")) + 1e-15);
  }
}

TEST(StepModel, RanksComputeWhatTheyReceive) {
  const Network network(known_cluster(4));
  const Popularity popularity = Popularity::read("1 3 0 4", 4, "weights");
  StepOptions options{.flops_per_rank = 1e8};
  StepPrice price = price_step(network, popularity, options);
  EXPECT_NEAR(phase_s(price, "gemm"), 2e-3, 1e-12) << "rank 3 gets half of all";
  EXPECT_EQ(price.bottleneck, "gemm: rank 3");
  EXPECT_EQ(price.dropped, 0.0);
  options.capacity_factor = 1.25;
  price = price_step(network, popularity, options);
  EXPECT_NEAR(phase_s(price, "gemm"), 1.25e-3, 1e-12);
  EXPECT_NEAR(price.dropped, (3.0 / 8.0 - 1.25 / 4.0) + (0.5 - 1.25 / 4.0), 1e-12);
}

// Ranks 0 and 1 of one leaf send to 2 and 4, whose numbers lead over one spine. On the way back there are two.
TEST(StepModel, CombineIsDispatchTurnedRound) {
  const Network network(known_cluster(6, 1, fat_tree({2, 3}, {2})));
  const double b = 12.5e9;
  const Popularity popularity =
      Popularity::read("0 0 1 0 0 0\n0 0 0 0 1 0\n0 0 1 0 0 0\n0 0 0 1 0 0\n0 0 0 0 1 0\n0 0 0 0 0 1\n", 6, "weights");
  const StepPrice price = price_step(network, popularity, {.bytes_per_rank = 4e6});
  EXPECT_NEAR(phase_s(price, "dispatch"), 8e6 / b + 4e-6, 1e-12);
  EXPECT_NEAR(phase_s(price, "combine"), 4e6 / b + 4e-6, 1e-12);
  EXPECT_EQ(price.bottleneck, "dispatch: up-link 0 of leaf 0");
}

TEST(Reduction, InARingGoesAtThePaceOfItsSlowestLink) {
  Cluster cluster = known_cluster(4, 2);
  const Network network(cluster);
  EXPECT_NEAR(price_reduction(network, 8e6, Reduce::ring, Tier::automatic).time_s, 14.0 * (3e-7 + 1e6 / 1e10), 1e-12)
      << "within nodes: 100.3 us a round; between them one rank sends, 81 us";
  cluster.faults = {{.nic = 2, .factor = 0.5}};
  EXPECT_NEAR(price_reduction(Network(checked(cluster)), 8e6, Reduce::ring, Tier::automatic).time_s,
              14.0 * (1e-6 + 1e6 / 6.25e9), 1e-12);
  EXPECT_EQ(price_reduction(Network(known_cluster(1)), 8e6, Reduce::ring, Tier::automatic).time_s, 0.0);
}

TEST(Reduction, DirectlyIsTwoUniformExchanges) {
  const Network network(known_cluster(16));
  for (const Tier tier : {Tier::automatic, Tier::bound, Tier::fluid}) {
    EXPECT_NEAR(price_reduction(network, 16e6, Reduce::direct, tier).time_s, 2.0 * 1.201e-3, 1e-12);
  }
}

TEST(StepModel, RefusesValuesOutOfRangeAndMachinesThatDoNotCompute) {
  const Popularity popularity = Popularity::uniform(4);
  const Network network(known_cluster(4));
  for (const StepOptions& options :
       {StepOptions{.bytes_per_rank = -1.0}, StepOptions{.flops_per_rank = not_given}, StepOptions{.waves = 0},
        StepOptions{.capacity_factor = -0.5}, StepOptions{.gradient_bytes = -1.0}}) {
    EXPECT_THROW(static_cast<void>(price_step(network, popularity, options)), InputError);
  }
  Cluster cluster = known_cluster(4);
  cluster.rank_flops_per_s = not_given;
  const Network idle(checked(cluster));
  EXPECT_THROW(static_cast<void>(price_step(idle, popularity, {.flops_per_rank = 1.0})), InputError);
  EXPECT_GT(price_step(idle, popularity, {.bytes_per_rank = 1e6}).time_s, 0.0) << "without computing it is not needed";
}

}  // namespace
}  // namespace conclave::sim
