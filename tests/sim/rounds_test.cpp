// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/rounds.hpp"

#include "comm/plan/bruck.hpp"
#include "comm/plan/gather.hpp"
#include "comm/plan/hierarchical.hpp"
#include "comm/plan/pairwise.hpp"
#include "comm/plan/reduce_plan.hpp"
#include "comm/plan/two_phase.hpp"
#include "runtime/sim/bound.hpp"
#include "runtime/sim/exchange_model.hpp"
#include "runtime/sim/gather_price.hpp"

#include <gtest/gtest.h>

#include "tests/sim/clusters.hpp"

namespace conclave::sim {
namespace {

constexpr double us = 1e-6;

TEST(RoundClock, WaitsForBothRanksOfAMessage) {
  const Network network(known_cluster(4));
  const double m = 12.5e9 * us;  // a microsecond of a NIC
  RoundClock clock(network);
  EXPECT_EQ(clock.time_s(), 0.0);
  EXPECT_EQ(clock.busiest_resource(), -1);
  clock.advance(std::vector<Pair>{{0, 1, 9.0 * m}, {2, 3, m}});
  EXPECT_NEAR(clock.time_s(), 10.0 * us, 1e-15);
  clock.advance(std::vector<Pair>{{3, 2, 2.0 * m}});
  EXPECT_NEAR(clock.time_s(), 10.0 * us, 1e-15) << "2 and 3 need not wait for 0 and 1";
  clock.advance(std::vector<Pair>{{1, 2, m}});
  EXPECT_NEAR(clock.time_s(), 12.0 * us, 1e-15);
  EXPECT_EQ(network.name(clock.busiest_resource()), "NIC of node 1, out");
  clock.advance(std::vector<Pair>{{3, 1, m}});
  EXPECT_NEAR(clock.time_s(), 14.0 * us, 1e-15) << "the receiver was busy for longer than the sender";
}

TEST(RoundClock, SharesTheResourcesOfARound) {
  const Network network(known_cluster(2, 2));
  const double m = 12.5e9 * us;
  RoundClock clock(network);
  clock.advance(std::vector<Pair>{{0, 2, m}, {1, 3, 2.0 * m}});
  EXPECT_NEAR(clock.time_s(), 4.0 * us, 1e-15);
  clock.advance(std::vector<Pair>{{0, 2, m}});
  EXPECT_NEAR(clock.time_s(), 6.0 * us, 1e-15) << "another round's bytes are gone";
}

TEST(RoundClock, TakesEmptyMessagesAndThoseToOneselfForNone) {
  const Network network(known_cluster(2, 2));
  RoundClock clock(network);
  clock.advance(std::vector<Pair>{{0, 0, 5.0}, {1, 2, 0.0}});
  EXPECT_EQ(clock.time_s(), 0.0);
}

Index bytes_between(RankId from, RankId to) { return 1000 * ((7 * from.value() + 3 * to.value()) % 11); }

Traffic traffic_of(Index ranks) {
  Traffic traffic(ranks);
  for (Index from = 0; from < ranks; ++from) {
    for (Index to = 0; to < ranks; ++to) {
      traffic.add(Pair{static_cast<std::uint32_t>(from), static_cast<std::uint32_t>(to),
                       static_cast<double>(bytes_between(RankId{from}, RankId{to}))});
    }
  }
  return traffic;
}

double strategy_s(const Network& network, Strategy strategy) {
  return price_exchange(network, traffic_of(network.num_ranks()), {strategy, Tier::automatic}).time_s;
}

// What is priced without a list of messages is what the list says.
TEST(Schedule, OfTheTwoPhaseExchangeIsWhatTheStrategyCosts) {
  for (const Cluster& cluster : all_kinds()) {
    SCOPED_TRACE(text_of(cluster));
    const Network network(cluster);
    const auto steps = plan::two_phase_schedule({cluster.nodes, cluster.ranks_per_node}, bytes_between);
    const double time_s = schedule_s(network, steps);
    EXPECT_NEAR(time_s, strategy_s(network, Strategy::hierarchical), 1e-12 * time_s);
    EXPECT_EQ(time_s > 0.0, cluster.num_ranks() > 1);
  }
}

plan::Topology topology_of(const Cluster& cluster) {
  std::vector<Index> node_of;
  for (RankId rank; rank < RankId{cluster.num_ranks()}; ++rank) node_of.push_back(cluster.node_of(rank).value());
  return plan::Topology(node_of);
}

// Every schedule of the runtime can be priced. Those that send each byte straight cannot beat the bound.
TEST(Schedule, OfTheRuntimesStrategiesIsPriced) {
  for (const Cluster& cluster : all_kinds()) {
    if (cluster.num_ranks() == 1) continue;
    SCOPED_TRACE(text_of(cluster));
    const Network network(cluster);
    const plan::Topology topology = topology_of(cluster);
    const double bound_s = bound_of(network, traffic_of(cluster.num_ranks())).time_s;
    EXPECT_GT(bound_s, 0.0);
    EXPECT_GE(schedule_s(network, plan::flat_schedule(topology, bytes_between)), bound_s * (1.0 - 1e-12));
    EXPECT_GE(schedule_s(network, plan::pairwise_schedule(topology, bytes_between)), bound_s * (1.0 - 1e-12));
    EXPECT_GT(schedule_s(network, plan::bruck_schedule(topology, bytes_between)), 0.0);
    EXPECT_GT(schedule_s(network, plan::hierarchical_schedule(topology, {bytes_between, {}, 1})), 0.0);
  }
}

// Four rounds at once pay their latency once.
TEST(Schedule, OfTheRuntimesPairwiseExchangeHasFewerPhasesThanRounds) {
  const Network network(known_cluster(16));
  const auto bytes = [](RankId from, RankId to) { return from == to ? Index{0} : Index{1000000}; };
  const auto steps = plan::pairwise_schedule(topology_of(network.cluster()), bytes);
  EXPECT_NEAR(schedule_s(network, steps), 4e-6 + 15.0 * 80e-6, 1e-12);
}

// Ranks of a node that are in different rounds share its link all the same.
TEST(Schedule, OfTheHierarchicalExchangeIsNoShorterThanItsLinksNeed) {
  const Network network(known_cluster(4, 2));
  const auto bytes = [](RankId from, RankId to) { return from == to ? Index{0} : Index{1000000}; };
  const double time_s =
      schedule_s(network, plan::hierarchical_schedule(topology_of(network.cluster()), {bytes, {}, 1000}));
  EXPECT_GE(time_s, 3.0 * 4e6 / network.cluster().nic_Bps);
}

double gathering_s(const Cluster& cluster, Index blocks, const Machine* machine = nullptr) {
  return price_gathering(Network(cluster), machine, blocks * plan::ReducePlan::block_elements).time_s;
}

// Slices of one block each, which are small, and of five. Where links are unlike, ranks are in different rounds at
// once.
TEST(Schedule, OfGatheringIsItsPrice) {
  for (const Cluster& cluster : all_kinds()) {
    SCOPED_TRACE(text_of(cluster));
    const plan::Topology topology = topology_of(cluster);
    for (const Index blocks_of_rank : {1, 5}) {
      const Index bytes = blocks_of_rank * plan::ReducePlan::block_elements * 4;
      const double time_s =
          schedule_s(Network(cluster), plan::gather_schedule(topology, [&](RankId) { return bytes; }));
      const double price_s = gathering_s(cluster, blocks_of_rank * cluster.num_ranks());
      EXPECT_GE(price_s, time_s * (1.0 - 1e-9));
      if (cluster.fabric.kind == FabricKind::crossbar) {
        EXPECT_NEAR(price_s, time_s, 1e-9 * time_s);
      }
    }
  }
}

TEST(Gathering, TakesWhatWasMeasuredAndCountsWholeBlocks) {
  Machine machine;
  machine.compute = {{1, 1, {}}};
  machine.node = MessageCosts{};
  machine.node->eager = machine.node->rendezvous = {{1e-6, 1e-6, 1e-6}, {1e9, 1e9, 1e9}};
  machine.node->post_s = {1e-7, 1e-7, 1e-7};
  const double slice = 4.0 * plan::ReducePlan::block_elements;
  EXPECT_NEAR(gathering_s(known_cluster(1, 4), 4, &machine), 3.0 * (1e-6 + slice / 1e9 + 2e-7), 1e-12);
  machine.exchanges = {{std::string(exchange_of_parameters), slice, {1.5, 1.5, 1.5}}};
  EXPECT_NEAR(gathering_s(known_cluster(4), 4, &machine), 1.5 * gathering_s(known_cluster(4), 4), 1e-12);
  EXPECT_EQ(gathering_s(known_cluster(4), 5), gathering_s(known_cluster(4), 8)) << "one rank has two blocks, or all";
  EXPECT_EQ(gathering_s(known_cluster(4), 0), 0.0);
  EXPECT_EQ(gathering_s(known_cluster(1), 8), 0.0);
  EXPECT_LT(gathering_s(known_cluster(1024), 64), 1e-4) << "few blocks go to all in few rounds";
}

}  // namespace
}  // namespace conclave::sim
