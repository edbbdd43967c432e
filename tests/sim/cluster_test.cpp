// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/cluster.hpp"

#include <gtest/gtest.h>

namespace conclave::sim {
namespace {

std::string refusal(const std::string& json) {
  try {
    static_cast<void>(read_cluster(json, "c.json"));
  } catch (const InputError& error) {
    EXPECT_FALSE(error.hint().empty()) << error.what();
    return error.what();
  }
  return "none";
}

TEST(Cluster, IsReadFromItsFile) {
  const Cluster c = read_cluster(R"({
    "nodes": 64, "ranks_per_node": 2, "nic_Bps": 12.5e9, "node_bus_Bps": 1e10, "latency_s": 1e-6,
    "node_latency_s": 3e-7, "rank_flops_per_s": 1e11,
    "fabric": {"kind": "fat_tree", "nodes_per_leaf": 8, "leaves": 8, "spines": 2, "link_Bps": 25e9,
               "link_latency_s": 2e-6, "routing": "dmodk"},
    "faults": [{"nic": 5, "factor": 0.25}, {"host": 9, "factor": 0.5}]})",
                                 "c.json");
  EXPECT_EQ(c.num_ranks(), 128);
  EXPECT_EQ(c.node_of(RankId{11}), NodeId{5});
  EXPECT_EQ(c.ranks_of(NodeId{5}), (Range{10, 12}));
  EXPECT_EQ(c.nic_Bps, 12.5e9);
  EXPECT_EQ(c.fabric.kind, FabricKind::fat_tree);
  EXPECT_EQ(c.fabric.down, (std::vector<Index>{8, 8}));
  EXPECT_EQ(c.fabric.up, (std::vector<Index>{2}));
  EXPECT_EQ(c.fabric.link_Bps, 25e9);
  ASSERT_EQ(c.faults.size(), 2U);
  EXPECT_EQ(c.faults[0].nic, 5);
  EXPECT_EQ(c.faults[1].host, 9);
  EXPECT_EQ(c.flops_per_s(NodeId{9}), 5e10);
}

TEST(Cluster, NeedsOnlyWhatIsNeeded) {
  const Cluster crossbar = read_cluster(R"({"nodes": 3, "nic_Bps": 1e9, "latency_s": 0})", "c.json");
  EXPECT_EQ(crossbar.num_ranks(), 3);
  EXPECT_EQ(read_cluster(R"({"nodes": 1})", "c.json").num_ranks(), 1);
  const Cluster torus = read_cluster(
      R"({"fabric": {"kind": "torus", "dims": [3, 5, 5], "link_Bps": 1e9, "link_latency_s": 0}})", "c.json");
  EXPECT_EQ(torus.nodes, 75);
  EXPECT_EQ(torus.nic_Bps, 1e9) << "a NIC is as fast as a link where the file does not say";
  const Cluster dragonfly = read_cluster(
      R"({"nic_Bps": 2e9, "fabric": {"kind": "dragonfly", "groups": 4, "chassis": 2, "routers": 3, "nodes": 5,
          "link_latency_s": 1e-6}})",
      "c.json");
  EXPECT_EQ(dragonfly.nodes, 120);
  EXPECT_EQ(dragonfly.fabric.link_Bps, 2e9) << "a link is as fast as a NIC where the file does not say";
}

TEST(Cluster, NamesTheNearestKeys) {
  EXPECT_EQ(refusal(R"({"nodes": 2, "nic_bps": 1e9})"),
            "c.json: a cluster has no key 'nic_bps'; did you mean nic_Bps?");
  EXPECT_EQ(refusal(R"({"nodes": 2, "fabrik": {}})"), "c.json: a cluster has no key 'fabrik'; did you mean fabric?");
  EXPECT_EQ(refusal(R"({"fabric": {"kind": "torus", "dim": [2]}})"),
            "c.json: a torus has no key 'dim'; did you mean dims?");
  EXPECT_EQ(refusal(R"({"fabric": {"kind": "torus", "dims": [2], "spines": 4}})"),
            "c.json: a torus has no key 'spines'")
      << "a fat tree's";
  EXPECT_EQ(refusal(R"({"nodes": 2, "faults": [{"nik": 1, "factor": 1}]})"),
            "c.json: a fault has no key 'nik'; did you mean nic?");
}

TEST(Cluster, RefusesBadValuesByName) {
  const std::string rest = R"("node_bus_Bps": 1e9, "node_latency_s": 0, "latency_s": 0)";
  EXPECT_EQ(refusal("{\"nodes\": 0, " + rest + "}"), "c.json: nodes = 0");
  EXPECT_EQ(refusal("{\"nodes\": -4, " + rest + "}"), "c.json: nodes = -4");
  EXPECT_EQ(refusal("{\"nodes\": 2.5, " + rest + "}"), "c.json: 'nodes' cannot be '2.5'");
  EXPECT_EQ(refusal("{\"nodes\": 4, \"nic_Bps\": 0, " + rest + "}"), "c.json: nic_Bps = 0");
  EXPECT_EQ(refusal("{\"nodes\": 4, \"nic_Bps\": -1e9, " + rest + "}"), "c.json: nic_Bps = -1000000000");
  EXPECT_EQ(refusal("{\"nodes\": 4, \"nic_Bps\": \"nan\", " + rest + "}"), "c.json: 'nic_Bps' cannot be 'nan'");
  EXPECT_EQ(refusal("{\"nodes\": 4, \"nic_Bps\": 1e999, " + rest + "}").substr(0, 23), "c.json: this is no JSON");
  EXPECT_EQ(refusal("{\"nodes\": 4, \"nic_Bps\": null, " + rest + "}"), "c.json: 'nic_Bps' cannot be null");
  EXPECT_EQ(refusal(R"({"nodes": 4, "nic_Bps": 1e9, "latency_s": -1e-6})"), "c.json: latency_s = -1e-06");
  EXPECT_EQ(refusal(R"({"nodes": 4, "nic_Bps": 1e9})"), "c.json: 'latency_s' is missing");
  EXPECT_EQ(refusal(R"({"fabric": {"kind": "torus", "dims": [3], "link_latency_s": 0}})"),
            "c.json: 'link_Bps' is missing");
  EXPECT_EQ(refusal(R"({"nic_Bps": 1e9, "fabric": {"kind": "torus", "dims": [3]}})"),
            "c.json: 'link_latency_s' is missing");
  EXPECT_EQ(refusal(R"({"nodes": 1, "ranks_per_node": 2})"), "c.json: 'node_bus_Bps' is missing");
  EXPECT_EQ(refusal(R"({"nodes": 16777216, "ranks_per_node": 2})"),
            "c.json: nodes x ranks_per_node = 16777216 x 2 is more than 16777216");
  EXPECT_EQ(refusal(R"({"nodes": 2, "nic_Bps": 1e9, "latency_s": 0, "faults": [{"nic": 2, "factor": 0.5}]})"),
            "c.json: a fault of nic 2 of 2 nodes");
  EXPECT_EQ(refusal(R"({"nodes": 2, "nic_Bps": 1e9, "latency_s": 0, "faults": [{"nic": 1, "factor": 0}]})"),
            "c.json: factor = 0");
  EXPECT_EQ(refusal(R"({"nodes": 2, "nic_Bps": 1e9, "latency_s": 0, "faults": [{"nic": 1}]})"),
            "c.json: 'factor' is missing");
  EXPECT_EQ(refusal(R"({"nodes": 2, "nic_Bps": 1e9, "latency_s": 0, "faults": [{"nic": 1, "host": 1, "factor": 1}]})"),
            "c.json: a fault of both a nic and a host");
}

TEST(Cluster, RefusesCountsThatDoNotMultiplyOut) {
  const auto fabric = [](const std::string& nodes, const std::string& text) {
    return refusal(fmt::format(R"({{{} "nic_Bps": 1e9, "fabric": {{{}, "link_latency_s": 0}}}})", nodes, text));
  };
  EXPECT_EQ(fabric("\"nodes\": 63,", R"("kind": "fat_tree", "nodes_per_leaf": 8, "leaves": 8, "spines": 2)"),
            "c.json: nodes = 63, but the fat_tree connects 64");
  EXPECT_EQ(fabric("\"nodes\": 8,", R"("kind": "torus", "dims": [3, 3])"),
            "c.json: nodes = 8, but the torus connects 9");
  EXPECT_EQ(fabric("", R"("kind": "fat_tree", "nodes_per_leaf": 8, "leaves": 8)"), "c.json: spines = 0");
  EXPECT_EQ(fabric("", R"("kind": "fat_tree", "down": [8, 8], "up": [2, 2])"),
            "c.json: a fat tree with down = 8,8 and up = 2,2");
  EXPECT_EQ(fabric("", R"("kind": "fat_tree", "down": [8, 8], "up": [2], "spines": 2)"),
            "c.json: a fat tree is described twice");
  EXPECT_EQ(fabric("", R"("kind": "torus", "dims": [])"), "c.json: 'dims' is missing");
  EXPECT_EQ(fabric("", R"("kind": "torus", "dims": [4, -4])"), "c.json: dims = -4");
  EXPECT_EQ(fabric("", R"("kind": "torus", "dims": [8192, 8192])"), "c.json: dims = 8192 x 8192 is more than 16777216");
  EXPECT_EQ(fabric("", R"("kind": "dragonfly", "groups": 4, "chassis": 2, "routers": 3)"), "c.json: fabric nodes = 0");
  EXPECT_EQ(fabric("", R"("kind": "fat_tree", "nodes_per_leaf": 2, "leaves": 2, "spines": 2, "routing": "adaptive")"),
            "c.json: routing = 'adaptive' of a fat_tree");
}

TEST(Cluster, RefusesWhatIsNoDescription) {
  EXPECT_EQ(refusal("{\"nodes\": 2").substr(0, 23), "c.json: this is no JSON");
  EXPECT_EQ(refusal("[1]"), "c.json: a cluster is [1], no object");
  EXPECT_EQ(refusal(R"({"nodes": 2, "nodes": 3})"), "c.json: key 'nodes' stands twice in one object");
  EXPECT_EQ(refusal(R"({"fabric": {"dims": [2]}})"), "c.json: 'fabric' has no 'kind'");
  EXPECT_EQ(refusal(R"({"fabric": {"kind": "hypercube"}})"), "c.json: option 'kind' cannot be 'hypercube'");
  EXPECT_EQ(refusal(R"({"faults": {"nic": 1}})"), "c.json: 'faults' is no list");
}

TEST(Cluster, PresetsAreSound) {
  EXPECT_GE(cluster_presets().size(), 5U);
  for (const ClusterPreset& preset : cluster_presets()) {
    const Cluster cluster = read_cluster(preset.json, preset.name);
    EXPECT_GT(cluster.num_ranks(), 1) << preset.name;
    EXPECT_GT(cluster.flops_per_s(NodeId{0}), 0.0) << preset.name;
  }
}

}  // namespace
}  // namespace conclave::sim
