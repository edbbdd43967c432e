// SPDX-License-Identifier: BSD-3-Clause
// Routes, and that sums over subtrees, rings and groups are sums over routes.
#include "runtime/sim/fabric.hpp"

#include <gtest/gtest.h>

#include <set>

#include "tests/sim/clusters.hpp"

namespace conclave::sim {
namespace {

std::vector<std::string> route_names(const Network& network, Index from, Index to) {
  std::vector<Index> resources;
  network.route(RankId{from}, RankId{to}, resources);
  std::vector<std::string> names;
  for (const Index resource : resources) names.push_back(network.name(resource));
  return names;
}

using Names = std::vector<std::string>;

TEST(Network, NamesWhatAMessageUses) {
  const Network crossbar(known_cluster(3, 2));
  EXPECT_EQ(route_names(crossbar, 0, 1), Names({"bus of node 0"}));
  EXPECT_EQ(route_names(crossbar, 1, 4), Names({"NIC of node 0, out", "NIC of node 2, in"}));
  EXPECT_DOUBLE_EQ(crossbar.latency_s(RankId{0}, RankId{1}), 3e-7);
  EXPECT_DOUBLE_EQ(crossbar.latency_s(RankId{0}, RankId{2}), 1e-6);
}

TEST(FatTree, GoesUpByTheDestinationAlone) {
  const Network two(known_cluster(24, 1, fat_tree({4, 6}, {3})));
  EXPECT_EQ(route_names(two, 0, 3), Names({"NIC of node 0, out", "NIC of node 3, in"}));
  EXPECT_EQ(route_names(two, 0, 11),
            Names({"NIC of node 0, out", "NIC of node 11, in", "up-link 2 of leaf 0", "down-link 2 of leaf 2"}));
  EXPECT_DOUBLE_EQ(two.latency_s(RankId{0}, RankId{3}), 2e-6);
  EXPECT_DOUBLE_EQ(two.latency_s(RankId{0}, RankId{11}), 4e-6);
  const Network three(known_cluster(24, 1, fat_tree({2, 3, 4}, {2, 3})));
  EXPECT_EQ(route_names(three, 1, 17),
            Names({"NIC of node 1, out", "NIC of node 17, in", "up-link 1 of leaf 0", "up-link 5 of level 2 subtree 0",
                   "down-link 5 of level 2 subtree 2", "down-link 1 of leaf 8"}));
  EXPECT_DOUBLE_EQ(three.latency_s(RankId{1}, RankId{17}), 6e-6);
}

TEST(Torus, GoesTheShorterWayRoundAndUpWhereBothAreAsLong) {
  const Network network(known_cluster(24, 1, torus({2, 3, 4})));
  EXPECT_EQ(route_names(network, 0, 5),
            Names({"link of node 0, dimension 0, up", "link of node 1, dimension 1, down"}));
  EXPECT_EQ(route_names(network, 0, 12), Names({"link of node 0, dimension 2, up", "link of node 6, dimension 2, up"}));
  EXPECT_EQ(route_names(network, 12, 0),
            Names({"link of node 12, dimension 2, up", "link of node 18, dimension 2, up"}));
  EXPECT_EQ(route_names(network, 1, 0), Names({"link of node 1, dimension 0, up"})) << "half-way round a ring of two";
  EXPECT_DOUBLE_EQ(network.latency_s(RankId{0}, RankId{12}), 2e-6);
}

TEST(Dragonfly, GoesThroughTheRouterThatIsLinkedToTheGroup) {
  const Network network(known_cluster(36, 1, dragonfly(3, 2, 3, 2)));  // 12 nodes a group
  EXPECT_EQ(route_names(network, 0, 1), Names({"NIC of node 0, out", "NIC of node 1, in"}));
  EXPECT_EQ(route_names(network, 0, 10),
            Names({"NIC of node 0, out", "NIC of node 10, in", "link from router 0 to router 2 of chassis 0 of group 0",
                   "link from chassis 0 to chassis 1 at router 2 of group 0"}));
  EXPECT_EQ(route_names(network, 6, 35),
            Names({"NIC of node 6, out", "NIC of node 35, in", "link from router 0 to router 2 of chassis 1 of group 0",
                   "link from chassis 1 to chassis 0 at router 2 of group 0", "link from group 0 to group 2",
                   "link from router 0 to router 2 of chassis 0 of group 2",
                   "link from chassis 0 to chassis 1 at router 2 of group 2"}));
  EXPECT_DOUBLE_EQ(network.latency_s(RankId{6}, RankId{35}), 7e-6);
}

TEST(Fabric, LatencyIsThatOfTheLinksOfTheRoute) {
  for (const Cluster& cluster : all_kinds()) {
    if (cluster.fabric.kind == FabricKind::crossbar) continue;
    SCOPED_TRACE(text_of(cluster));
    const Network network(cluster);
    std::vector<Index> resources;
    for (Index a = 0; a < cluster.num_ranks(); ++a) {
      for (Index b = 0; b < cluster.num_ranks(); ++b) {
        if (cluster.node_of(RankId{a}) == cluster.node_of(RankId{b})) continue;
        network.route(RankId{a}, RankId{b}, resources);
        EXPECT_DOUBLE_EQ(network.latency_s(RankId{a}, RankId{b}), 1e-6 * static_cast<double>(resources.size()));
        EXPECT_LE(std::ssize(resources), network.most_hops());
        EXPECT_EQ(std::set<Index>(resources.begin(), resources.end()).size(), resources.size());
      }
    }
  }
}

void expect_same_loads(const Network& network, const Traffic& traffic) {
  const Loads factored = network.loads(traffic);
  const Loads explicit_ = network.loads(traffic.as_pairs());
  Index carried = 0;
  for (Index r = 0; r < factored.size(); ++r) {
    EXPECT_NEAR(factored.bytes(r), explicit_.bytes(r), 1e-12 * explicit_.bytes(r)) << network.name(r);
    if (explicit_.bytes(r) == 0.0) continue;
    ++carried;
    // Without pairs it is only known how near a source and a destination may be.
    EXPECT_LE(factored.least_latency_s(r), explicit_.least_latency_s(r) * (1.0 + 1e-12)) << network.name(r);
    EXPECT_GT(factored.least_latency_s(r), 0.0);
  }
  EXPECT_EQ(carried > 0, network.num_ranks() > 1);
}

TEST(Loads, OfFactoredTrafficAreThoseOfItsPairs) {
  for (const Cluster& cluster : all_kinds()) {
    SCOPED_TRACE(text_of(cluster));
    expect_same_loads(Network(cluster), mixed_traffic(cluster));
  }
}

TEST(Loads, OfFactoredTrafficAreThoseOfItsPairsOnHundredsOfRanks) {
  for (const Cluster& cluster :
       {known_cluster(128, 4), known_cluster(512, 1, fat_tree({8, 8, 8}, {4, 4})),
        known_cluster(128, 4, fat_tree({16, 8}, {5})), known_cluster(512, 1, torus({8, 8, 8})),
        known_cluster(245, 2, torus({5, 7, 7})), known_cluster(512, 1, dragonfly(8, 2, 8, 4))}) {
    SCOPED_TRACE(text_of(cluster));
    expect_same_loads(Network(cluster), mixed_traffic(cluster, 1));
  }
}

// One rank has all but 1e-15 of the popularity: a difference of sums would lose what the others get.
TEST(Loads, KeepTheirDigitsWhereOneRankHasNearlyAll) {
  for (const Cluster& cluster : all_kinds()) {
    SCOPED_TRACE(text_of(cluster));
    Traffic traffic(cluster.num_ranks());
    TrafficTerm term{uniform_values(cluster.num_ranks(), 1), uniform_values(cluster.num_ranks(), 2)};
    term.popularity.front() = 1e15;
    term.sent.back() = 1e12;
    traffic.add(term);
    expect_same_loads(Network(cluster), traffic);
  }
}

TEST(Loads, OfUniformTrafficHaveTheirLeastLatencyExactly) {
  for (const Cluster& cluster : all_kinds()) {
    SCOPED_TRACE(text_of(cluster));
    const Network network(cluster);
    const Traffic traffic = Traffic::uniform(cluster.num_ranks(), 1e6);
    const Loads factored = network.loads(traffic);
    const Loads explicit_ = network.loads(traffic.as_pairs());
    for (Index r = 0; r < factored.size(); ++r) {
      EXPECT_EQ(factored.bytes(r) > 0.0, explicit_.bytes(r) > 0.0) << network.name(r);
      if (explicit_.bytes(r) == 0.0) continue;
      EXPECT_DOUBLE_EQ(factored.least_latency_s(r), explicit_.least_latency_s(r)) << network.name(r);
    }
  }
}

TEST(Loads, BetweenGroupsOfADragonflyHaveTheirLeastLatencyExactly) {
  const Cluster cluster = known_cluster(36, 1, dragonfly(3, 2, 3, 2));
  TrafficTerm term{std::vector<double>(36, 0.0), std::vector<double>(36, 0.0)};
  std::fill_n(term.sent.begin(), 12, 1.0);
  std::fill_n(term.popularity.begin() + 24, 12, 1.0);
  Traffic traffic(36);
  traffic.add(term);
  const Network network(cluster);
  const Loads factored = network.loads(traffic);
  const Loads explicit_ = network.loads(traffic.as_pairs());
  Index carrying_links = 0;
  for (Index link = 3 * cluster.nodes; link < factored.size(); ++link) {
    if (explicit_.bytes(link) == 0.0) continue;
    ++carrying_links;
    EXPECT_DOUBLE_EQ(factored.least_latency_s(link), explicit_.least_latency_s(link)) << network.name(link);
  }
  EXPECT_GE(carrying_links, 10);
}

TEST(Network, RefusesMoreLinksThanFitIntoMemory) {
  for (const Cluster& cluster : {known_cluster(1 << 20, 1, fat_tree({2, 1 << 19}, {1 << 20})),
                                 known_cluster(1 << 20, 1, dragonfly(1, 1, 1 << 20, 1)),
                                 known_cluster(1 << 20, 1, dragonfly(1 << 20, 1, 1, 1))}) {
    EXPECT_THROW(static_cast<void>(Network(cluster)), InputError) << text_of(cluster);
  }
}

TEST(Network, ASlowNicIsSlowBothWaysAndASlowHostIsNot) {
  Cluster cluster = known_cluster(6, 2);
  cluster.faults = {{.nic = 3, .factor = 0.25}, {.host = 4, .factor = 0.5}};
  const Network network(checked(cluster));
  std::vector<Index> resources;
  network.route(RankId{6}, RankId{8}, resources);
  EXPECT_DOUBLE_EQ(network.capacity_Bps(resources[0]), 12.5e9 / 4.0);
  EXPECT_DOUBLE_EQ(network.capacity_Bps(resources[1]), 12.5e9);
  network.route(RankId{8}, RankId{7}, resources);
  EXPECT_DOUBLE_EQ(network.capacity_Bps(resources[0]), 12.5e9);
  EXPECT_DOUBLE_EQ(network.capacity_Bps(resources[1]), 12.5e9 / 4.0);
  EXPECT_DOUBLE_EQ(network.cluster().flops_per_s(NodeId{4}), 5e10);
  EXPECT_DOUBLE_EQ(network.cluster().flops_per_s(NodeId{3}), 1e11);
}

TEST(Network, OnATorusASlowNicIsAllLinksOfTheNode) {
  Cluster cluster = known_cluster(12, 1, torus({3, 4}));
  cluster.faults = {{.nic = 5, .factor = 0.5}};
  const Network network(checked(cluster));
  Index slow = 0;
  for (Index r = 0; r < network.num_resources(); ++r) slow += network.capacity_Bps(r) == 6.25e9 ? 1 : 0;
  // Two NICs, which routes on a torus do not use, and in both dimensions two links from the node and two to it.
  EXPECT_EQ(slow, 2 + 8);
}

}  // namespace
}  // namespace conclave::sim
