// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/what_if.hpp"

#include "tests/sim/clusters.hpp"
#include "tests/sim/workloads.hpp"

#include <gtest/gtest.h>

#include <numeric>

namespace conclave::sim {
namespace {

// Expert 5 gets most of the rows.
ExpertLoads skewed_loads(const Workload& w) {
  std::vector<double> popularity(w.moe.experts.size(), 0.5 / static_cast<double>(w.moe.num_experts() - 1));
  popularity[5] = 0.5;
  Workload unlimited = w;
  unlimited.moe.slots = w.moe.competing;
  return expected_loads(unlimited, popularity);
}

TEST(WhatIf, ThePathOfAStepAddsUpToIt) {
  const Workload w = small_workload();
  Machine machine = small_machine();
  machine.noise.sigma = 0.02;
  for (const Cluster& cluster : all_kinds()) {
    const TrainingPrice price = sim::price(w, cluster, &machine);
    double sum = 0.0;
    for (const PathPart& part : price.path) {
      EXPECT_GE(part.seconds, 0.0) << part.what;
      sum += part.seconds;
    }
    EXPECT_NEAR(sum, price.step_s, 1e-9 * price.step_s);
    EXPECT_GE(price.path.size(), 4U);
  }
}

TEST(WhatIf, ThePathNamesTheFullestExpertAndItsRank) {
  const Workload w = small_workload();
  const Machine machine = small_machine();
  std::vector<ExpertLoads> loads{skewed_loads(w)};
  loads[0].name = "layer 1";
  const Network network(known_cluster(4));
  const TrainingPrice price = price_training_step({w, network, &machine, loads});
  const auto experts = std::ranges::find(price.path, "experts", &PathPart::what);
  ASSERT_NE(experts, price.path.end());
  EXPECT_EQ(experts->binding.find("rank 2: its expert 5 of layer 1 has "), 0U) << experts->binding;
}

TEST(WhatIf, LiftingALimitIsPricingTheCaseWithoutIt) {
  const Workload w = small_workload();
  Machine machine = small_machine();
  machine.noise.sigma = 0.05;
  const std::vector<ExpertLoads> loads{skewed_loads(w)};
  Cluster cluster = known_cluster(4);
  cluster.faults.push_back({.host = 1, .factor = 0.5});
  const Network network(cluster);
  const TrainingCase training{w, network, &machine, loads};
  const double step_s = price_training_step(training).step_s;

  Machine calm = machine;
  calm.noise = {};
  EXPECT_EQ(price_without(training, Limit::noise).step_s, price_training_step({w, network, &calm, loads}).step_s);
  const Network mended(known_cluster(4));
  EXPECT_EQ(price_without(training, Limit::faults).step_s, price_training_step({w, mended, &machine, loads}).step_s);
  Cluster near = cluster;
  near.latency_s = near.node_latency_s = 0.0;
  EXPECT_EQ(price_without(training, Limit::latency).step_s,
            price_training_step({w, Network(near), &machine, loads}).step_s);
  const std::vector<ExpertLoads> even{evened(loads[0])};
  EXPECT_NEAR(even[0].kept(), loads[0].kept(), 1e-9 * loads[0].kept());
  EXPECT_LT(price_training_step({w, network, &machine, even}).step_s, step_s);

  const std::vector<LiftedLimit> lifted = lifted_limits(training, step_s);
  ASSERT_EQ(lifted.size(), enum_names(Limit{}).size());
  for (std::size_t i = 0; i < lifted.size(); ++i) {
    EXPECT_DOUBLE_EQ(lifted[i].gain_s, step_s - lifted[i].step_s);
    EXPECT_GE(lifted[i].gain_s, -1e-12 * step_s) << name_of(lifted[i].limit);
    EXPECT_LE(lifted[i].gain_s, lifted[i == 0 ? 0 : i - 1].gain_s);
    EXPECT_FALSE(meaning_of(lifted[i].limit).empty());
  }
  EXPECT_GT(lifted[0].gain_s, 0.1 * step_s);
}

TEST(WhatIf, ReplicasShareTheirRowsAndBalanceIsFaster) {
  const Workload w = small_workload();
  const Machine machine = small_machine();
  std::vector<ExpertLoads> loads{skewed_loads(w)};
  for (Moments& m : loads[0].rows) m = m.scaled(1000.0);  // enough to be shared out
  const Network network(known_cluster(4));
  std::vector<double> rows;
  for (const Moments& m : loads[0].rows) rows.push_back(m.mean);
  const auto experts_s = [&](std::span<const experts::Placement> placements) {
    const TrainingPrice price = price_training_step({w, network, &machine, loads, placements});
    return std::ranges::find(price.path, "experts", &PathPart::what)->seconds;
  };
  const experts::Placement contiguous = experts::contiguous_placement(8, 4);
  const experts::Placement replicated = experts::replicated_placement(rows, 4, 4, 4);
  ASSERT_GT(replicated.num_replicas(), 0);
  EXPECT_EQ(experts_s({}), experts_s({&contiguous, 1}));
  EXPECT_LT(experts_s({&replicated, 1}), 0.8 * experts_s({&contiguous, 1}));
}

TEST(WhatIf, TheBoundIsAskedForAndCloseToTheSchedule) {
  const Workload w = small_workload();
  const Machine machine = small_machine();
  const std::vector<ExpertLoads> loads{expected_loads(w, even_popularity(w))};
  const Network network(known_cluster(4, 3));
  const double scheduled_s = price_training_step({w, network, &machine, loads}).step_s;
  const double bound_s = price_training_step({w, network, &machine, loads, {}, 0}).step_s;
  EXPECT_NE(bound_s, scheduled_s);
  EXPECT_NEAR(bound_s, scheduled_s, 0.3 * scheduled_s);
}

}  // namespace
}  // namespace conclave::sim
