// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/fluid.hpp"

#include "runtime/sim/bound.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "tests/sim/clusters.hpp"

namespace conclave::sim {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

struct PlainFlow {
  std::vector<Index> route;
  double start_s = 0.0;
  double bytes = 0.0;
  double rate = 0.0;
  bool settled = false;
};

// Max-min fair rates by the definition: the resource with the least share is full first, and settles its flows.
void settle_rates(const Network& network, std::vector<PlainFlow*>& flows) {
  for (PlainFlow* flow : flows) flow->settled = false;
  for (std::size_t settled = 0; settled < flows.size();) {
    std::vector<double> left;
    for (Index r = 0; r < network.num_resources(); ++r) left.push_back(network.capacity_Bps(r));
    std::vector<double> sharing(left.size(), 0.0);
    for (const PlainFlow* flow : flows) {
      for (const Index r : flow->route) {
        left[static_cast<std::size_t>(r)] -= flow->settled ? flow->rate : 0.0;
        sharing[static_cast<std::size_t>(r)] += flow->settled ? 0.0 : 1.0;
      }
    }
    double least = infinity;
    Index tightest = -1;
    for (std::size_t r = 0; r < left.size(); ++r) {
      if (sharing[r] == 0.0 || left[r] / sharing[r] >= least) continue;
      least = left[r] / sharing[r];
      tightest = static_cast<Index>(r);
    }
    for (PlainFlow* flow : flows) {
      if (flow->settled || std::find(flow->route.begin(), flow->route.end(), tightest) == flow->route.end()) continue;
      flow->rate = least;
      flow->settled = true;
      ++settled;
    }
  }
}

/// Seconds by plain loops, from one start or end of a flow to the next.
double plain_fluid_s(const Network& network, const Traffic& traffic) {
  std::vector<PlainFlow> all;
  traffic.for_each([&](const Pair& pair) {
    PlainFlow& flow = all.emplace_back();
    network.route(RankId{pair.from}, RankId{pair.to}, flow.route);
    flow.start_s = network.latency_s(RankId{pair.from}, RankId{pair.to});
    flow.bytes = pair.bytes;
  });
  double now_s = 0.0;
  while (true) {
    std::vector<PlainFlow*> active;
    double next_s = infinity;
    for (PlainFlow& flow : all) {
      if (flow.bytes <= 0.0) continue;
      if (flow.start_s <= now_s) active.push_back(&flow);
      if (flow.start_s > now_s) next_s = std::min(next_s, flow.start_s);
    }
    if (active.empty() && next_s == infinity) return now_s;
    settle_rates(network, active);
    for (const PlainFlow* flow : active) next_s = std::min(next_s, now_s + flow->bytes / flow->rate);
    for (PlainFlow* flow : active) {
      const double through = flow->rate * (next_s - now_s);
      flow->bytes = flow->bytes - through <= 1e-9 * flow->bytes ? 0.0 : flow->bytes - through;
    }
    now_s = next_s;
  }
}

TEST(Fluid, AgreesWithPlainLoopsOnEveryKindOfMachine) {
  Index above_bound = 0;
  for (const Cluster& cluster : all_kinds()) {
    SCOPED_TRACE(text_of(cluster));
    const Network network(cluster);
    const Traffic traffic = mixed_traffic(cluster, 2);
    const FluidTime fluid = fluid_of(network, traffic);
    const double plain_s = plain_fluid_s(network, traffic);
    EXPECT_NEAR(fluid.time_s, plain_s, 1e-7 * plain_s);
    EXPECT_EQ(fluid.window_s, 0.0);
    const double bound_s = bound_of(network, traffic).time_s;
    EXPECT_GE(fluid.time_s, bound_s * (1.0 - 1e-12));
    above_bound += fluid.time_s > bound_s * 1.001 ? 1 : 0;
    EXPECT_EQ(fluid.time_s > 0.0, cluster.num_ranks() > 1);
  }
  EXPECT_GE(above_bound, 2) << "somewhere sharing must matter";
}

// A chain: 0 -> 1 of 3 m, 0 -> 2 of m, 3 -> 2 of 3 m. The short flow takes half of both NICs until it is through.
TEST(Fluid, SharesWhatAnEndedFlowLeaves) {
  const Network network(known_cluster(4));
  const double m = 12.5e9 * 1e-3;  // a millisecond of a NIC
  Traffic traffic(4);
  traffic.add(Pair{0, 1, 3.0 * m});
  traffic.add(Pair{0, 2, m});
  traffic.add(Pair{3, 2, 3.0 * m});
  EXPECT_NEAR(fluid_of(network, traffic).time_s, 4e-3 + 1e-6, 1e-12);
  traffic.add(Pair{3, 1, m});
  EXPECT_NEAR(fluid_of(network, traffic).time_s, 4e-3 + 1e-6, 1e-12);
  EXPECT_EQ(fluid_of(network, traffic).num_flows, 4);
}

// A flow whose latency is short ends earlier: 2 us of head start, shared by nobody.
TEST(Fluid, StartsAFlowAfterItsLatency) {
  const Network network(known_cluster(4, 1, fat_tree({2, 2}, {1})));
  Traffic traffic(4);
  const double m = 12.5e9 * 10e-6;
  traffic.add(Pair{0, 1, m});
  traffic.add(Pair{2, 1, m});
  EXPECT_NEAR(fluid_of(network, traffic).time_s, 22e-6, 1e-15);
}

TEST(Fluid, WithFewRatesIsNearlyTheSame) {
  const Network network(known_cluster(64, 1, fat_tree({8, 8}, {4})));
  const Traffic traffic = mixed_traffic(network.cluster(), 3);
  const FluidTime exact = fluid_of(network, traffic, infinity);
  EXPECT_EQ(exact.window_s, 0.0);
  const FluidTime rough = fluid_of(network, traffic, 2e5);
  EXPECT_GT(rough.window_s, 0.0);
  EXPECT_LT(rough.num_fillings, exact.num_fillings / 4);
  EXPECT_NEAR(rough.time_s, exact.time_s, 1e-3 * exact.time_s);
  EXPECT_GE(rough.time_s, bound_of(network, traffic).time_s * (1.0 - 1e-12));
}

TEST(Fluid, ComputesNoRatesWhereNobodyGetsMore) {
  const Network network(known_cluster(32));
  const Traffic traffic = Traffic::uniform(32, 1e6);
  EXPECT_EQ(fluid_of(network, traffic).num_fillings, 1);
}

TEST(Fluid, OfNothingIsNothingAndOfTooMuchIsRefused) {
  const Network network(known_cluster(4));
  EXPECT_EQ(fluid_of(network, Traffic(4)).time_s, 0.0);
  EXPECT_EQ(fluid_of(network, Traffic(4)).num_flows, 0);
  const Network large(known_cluster(8192));
  EXPECT_THROW(static_cast<void>(fluid_of(large, Traffic::uniform(8192, 1e6))), InputError);
  const Network long_ways(known_cluster(2048, 1, torus({2048})));
  EXPECT_THROW(static_cast<void>(fluid_of(long_ways, Traffic::uniform(2048, 1e6))), InputError);
}

}  // namespace
}  // namespace conclave::sim
