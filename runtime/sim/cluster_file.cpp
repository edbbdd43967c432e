// SPDX-License-Identifier: BSD-3-Clause
// A cluster's description as JSON. Keys, their types and their help are those that the description's parts describe.
#include "runtime/sim/cluster.hpp"
#include "runtime/sim/json_object.hpp"

namespace conclave::sim {
namespace {

FabricSpec fabric_of(const Json& object) {
  expect_object("'fabric'", object);
  FabricSpec fabric;
  OptionTable kind;
  kind.add("kind", fabric.kind, "");
  if (!object.contains("kind")) {
    throw InputError("'fabric' has no 'kind'", fmt::format("it is {}", kind.find("kind")->accepts));
  }
  kind.assign("kind", text_of("kind", object["kind"]));
  OptionTable table;  // by the kind
  describe(fabric, table);
  assign(object, table, fmt::format("a {}", name_of(fabric.kind)), {});
  return fabric;
}

std::vector<Fault> faults_of(const Json& list) {
  if (!list.is_array()) throw InputError("'faults' is no list", "write [{\"nic\": 5, \"factor\": 0.25}, ...]");
  std::vector<Fault> faults;
  for (const Json& object : list) {
    expect_object("a fault", object);
    OptionTable table;
    describe(faults.emplace_back(), table);
    assign(object, table, "a fault", {});
  }
  return faults;
}

Cluster cluster_of(const Json& object) {
  expect_object("a cluster", object);
  Cluster cluster;
  OptionTable table;
  describe(cluster, table);
  assign(object, table, "a cluster", {"fabric", "faults"});
  if (object.contains("fabric")) cluster.fabric = fabric_of(object["fabric"]);
  if (object.contains("faults")) cluster.faults = faults_of(object["faults"]);
  return checked(std::move(cluster));
}

}  // namespace

Cluster read_cluster(std::string_view json, std::string_view where) {
  try {
    return cluster_of(parse_json(json));
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: {}", where, error.what()), error.hint());
  }
}

const std::vector<ClusterPreset>& cluster_presets() {
  static const std::vector<ClusterPreset> all{
      {"laptop", "8 ranks on one node",
       R"({"nodes": 1, "ranks_per_node": 8, "node_bus_Bps": 1.5e10, "node_latency_s": 5e-7,
           "rank_flops_per_s": 5e10})"},
      {"fat-node", "128 ranks on one node with much memory bandwidth",
       R"({"nodes": 1, "ranks_per_node": 128, "node_bus_Bps": 1.5e11, "node_latency_s": 5e-7,
           "rank_flops_per_s": 6e10})"},
      {"fat-tree-100g", "512 nodes of 2 x 64 cores, 100 Gbit/s, a fat tree over-subscribed 2:1",
       R"({"nodes": 512, "ranks_per_node": 128, "nic_Bps": 1.25e10, "node_bus_Bps": 1.5e11, "node_latency_s": 5e-7,
           "rank_flops_per_s": 6e10,
           "fabric": {"kind": "fat_tree", "nodes_per_leaf": 32, "leaves": 16, "spines": 16, "link_Bps": 1.25e10,
                      "link_latency_s": 3e-7}})"},
      {"fat-tree-200g", "512 nodes of 2 x 64 cores, 200 Gbit/s, a fat tree over-subscribed 2:1",
       R"({"nodes": 512, "ranks_per_node": 128, "nic_Bps": 2.5e10, "node_bus_Bps": 1.5e11, "node_latency_s": 5e-7,
           "rank_flops_per_s": 6e10,
           "fabric": {"kind": "fat_tree", "nodes_per_leaf": 32, "leaves": 16, "spines": 16, "link_Bps": 2.5e10,
                      "link_latency_s": 3e-7}})"},
      {"dragonfly", "16 groups of 2 chassis x 16 routers x 4 nodes of 2 x 64 cores, 200 Gbit/s",
       R"({"nodes": 2048, "ranks_per_node": 128, "nic_Bps": 2.5e10, "node_bus_Bps": 1.5e11, "node_latency_s": 5e-7,
           "rank_flops_per_s": 6e10,
           "fabric": {"kind": "dragonfly", "groups": 16, "chassis": 2, "routers": 16, "nodes": 4, "link_Bps": 2.5e10,
                      "link_latency_s": 3e-7}})"},
  };
  return all;
}

}  // namespace conclave::sim
