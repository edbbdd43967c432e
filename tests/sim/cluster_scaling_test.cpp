// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/cluster_scaling.hpp"

#include "tests/sim/clusters.hpp"

#include <gtest/gtest.h>

namespace conclave::sim {
namespace {

std::string refusal(const Cluster& cluster, Index ranks) {
  try {
    static_cast<void>(scaled_to(cluster, ranks));
  } catch (const InputError& error) {
    return fmt::format("{}; {}", error.what(), error.hint());
  }
  return "none";
}

TEST(ClusterScaling, EveryKindIsItselfAtItsOwnSize) {
  for (const Cluster& cluster : all_kinds()) {
    const Cluster same = scaled_to(cluster, cluster.num_ranks());
    EXPECT_EQ(same.nodes, cluster.nodes);
    EXPECT_EQ(Network(same).num_resources(), Network(cluster).num_resources());
  }
}

TEST(ClusterScaling, FillsNodesFirst) {
  const Cluster described = known_cluster(8, 4);
  EXPECT_EQ(scaled_to(described, 1).nodes, 1);
  EXPECT_EQ(scaled_to(described, 3).ranks_per_node, 3);
  EXPECT_EQ(scaled_to(described, 4).nodes, 1);
  EXPECT_EQ(scaled_to(described, 64).nodes, 16);
  EXPECT_EQ(scaled_to(described, 64).ranks_per_node, 4);
  EXPECT_EQ(refusal(described, 6),
            "6 ranks on nodes of 4; the simulator fills nodes evenly: ask for 4 or 8, or "
            "describe other nodes");
  EXPECT_EQ(refusal(described, 0), "0 ranks; ask for at least 1");
}

TEST(ClusterScaling, FatTreesKeepTheirLeavesAndOverSubscription) {
  const Cluster described = known_cluster(64, 1, fat_tree({8, 8}, {4}));
  const Cluster leaf = scaled_to(described, 4);
  EXPECT_EQ(leaf.fabric.down, (std::vector<Index>{4}));
  EXPECT_TRUE(leaf.fabric.up.empty()) << "nobody is above a single leaf";
  const Cluster large = scaled_to(described, 4096);
  EXPECT_EQ(large.fabric.down, (std::vector<Index>{8, 512}));
  EXPECT_EQ(large.fabric.up, (std::vector<Index>{4}));
  EXPECT_EQ(refusal(described, 12),
            "12 nodes do not fill the switches of a fat tree of 8 evenly; ask for a multiple "
            "of 8 nodes, or describe another fabric");
  // The short description says the same.
  FabricSpec by_counts{.kind = FabricKind::fat_tree};
  by_counts.nodes_per_leaf = by_counts.leaves = 8;
  by_counts.spines = 4;
  EXPECT_EQ(scaled_to(known_cluster(64, 1, by_counts), 32).fabric.down, (std::vector<Index>{8, 4}));
}

TEST(ClusterScaling, OtherFabricsByTheirOwnRules) {
  EXPECT_EQ(scaled_to(known_cluster(24, 1, torus({2, 3, 4})), 64).fabric.dims, (std::vector<Index>{4, 4, 4}));
  EXPECT_EQ(scaled_to(known_cluster(24, 1, torus({2, 3, 4})), 7).fabric.dims, (std::vector<Index>{7, 1, 1}));
  const Cluster described = known_cluster(128, 1, dragonfly(4, 2, 4, 4));
  const FabricSpec part = scaled_to(described, 16).fabric;
  EXPECT_EQ(part.nodes, 4);
  EXPECT_EQ(part.routers, 4);
  EXPECT_EQ(part.chassis, 1);
  EXPECT_EQ(part.groups, 1);
  EXPECT_EQ(scaled_to(described, 1024).fabric.groups, 32);
  EXPECT_NE(refusal(described, 48), "none");
}

TEST(ClusterScaling, FaultsOfNodesThatAreThereStay) {
  Cluster described = known_cluster(8);
  described.faults = {{.nic = 1, .factor = 0.5}, {.host = 5, .factor = 0.5}};
  EXPECT_EQ(scaled_to(described, 4).faults.size(), 1U);
  EXPECT_EQ(scaled_to(described, 16).faults.size(), 2U);
}

}  // namespace
}  // namespace conclave::sim
