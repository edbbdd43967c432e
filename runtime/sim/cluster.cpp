// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/cluster.hpp"

#include <cmath>

namespace conclave::sim {
namespace {

constexpr Index most_ranks = Index{1} << 24;

void expect_given(std::string_view key, double value, std::string_view why) {
  if (std::isnan(value)) throw InputError(fmt::format("'{}' is missing", key), fmt::format("give it: {}", why));
}

void expect_positive(std::string_view key, double value, std::string_view unit) {
  if (std::isnan(value) || (std::isfinite(value) && value > 0.0)) return;
  throw InputError(fmt::format("{} = {}", key, value), fmt::format("give a finite number of {} above 0", unit));
}

void expect_latency(std::string_view key, double value) {
  if (std::isnan(value) || (std::isfinite(value) && value >= 0.0)) return;
  throw InputError(fmt::format("{} = {}", key, value), "give a finite number of seconds, 0 or more");
}

void expect_count(std::string_view key, Index value) {
  if (value >= 1 && value <= most_ranks) return;
  throw InputError(fmt::format("{} = {}", key, value), fmt::format("give 1 to {}", most_ranks));
}

void expect_counts(std::string_view key, const std::vector<Index>& values) {
  if (values.empty()) throw InputError(fmt::format("'{}' is missing", key), "give at least one number");
  for (const Index value : values) expect_count(key, value);
}

// InputError where the product is beyond any machine; so that it cannot overflow.
Index product(std::string_view what, const std::vector<Index>& factors) {
  Index result = 1;
  for (const Index factor : factors) {
    result *= factor;
    if (result > most_ranks) {
      throw InputError(fmt::format("{} = {} is more than {}", what, fmt::join(factors, " x "), most_ranks),
                       "describe a smaller machine");
    }
  }
  return result;
}

void expect_routing(const FabricSpec& fabric, std::string_view only) {
  if (fabric.routing.empty() || fabric.routing == only) return;
  throw InputError(fmt::format("routing = '{}' of a {}", fabric.routing, name_of(fabric.kind)),
                   fmt::format("it takes {}, or leave it out", only));
}

// The two ways to describe a fat tree become the general one. Returns the nodes it connects.
Index complete_fat_tree(FabricSpec& fabric) {
  expect_routing(fabric, "dmodk");
  if (fabric.down.empty() && fabric.up.empty()) {
    for (const auto& [key, value] : {std::pair{"nodes_per_leaf", fabric.nodes_per_leaf},
                                     std::pair{"leaves", fabric.leaves}, std::pair{"spines", fabric.spines}}) {
      expect_count(key, value);
    }
    fabric.down = {fabric.nodes_per_leaf, fabric.leaves};
    fabric.up = {fabric.spines};
  } else if (fabric.nodes_per_leaf != 0 || fabric.leaves != 0 || fabric.spines != 0) {
    throw InputError("a fat tree is described twice", "give either nodes_per_leaf, leaves and spines, or down and up");
  }
  expect_counts("down", fabric.down);
  for (const Index parents : fabric.up) expect_count("up", parents);
  if (fabric.up.size() + 1 != fabric.down.size()) {
    throw InputError(
        fmt::format("a fat tree with down = {} and up = {}", fmt::join(fabric.down, ","), fmt::join(fabric.up, ",")),
        "every level but the uppermost has parents: give up one number fewer than down");
  }
  static_cast<void>(product("the parents of a fat tree", fabric.up));
  return product("the nodes of a fat tree", fabric.down);
}

// Returns the nodes that the fabric connects; 0: any number.
Index complete_fabric(FabricSpec& fabric) {
  switch (fabric.kind) {
    case FabricKind::crossbar:
      expect_routing(fabric, "direct");
      return 0;
    case FabricKind::fat_tree:
      return complete_fat_tree(fabric);
    case FabricKind::torus:
      expect_routing(fabric, "dimension_order");
      expect_counts("dims", fabric.dims);
      return product("dims", fabric.dims);
    case FabricKind::dragonfly:
      expect_routing(fabric, "minimal");
      for (const auto& [key, value] : {std::pair{"groups", fabric.groups}, std::pair{"chassis", fabric.chassis},
                                       std::pair{"routers", fabric.routers}, std::pair{"nodes", fabric.nodes}}) {
        expect_count(fmt::format("fabric {}", key), value);
      }
      return product("groups x chassis x routers x nodes",
                     {fabric.groups, fabric.chassis, fabric.routers, fabric.nodes});
  }
  return 0;
}

void check_quantities(const Cluster& c) {
  expect_positive("nic_Bps", c.nic_Bps, "bytes per second");
  expect_positive("node_bus_Bps", c.node_bus_Bps, "bytes per second");
  expect_positive("rank_flops_per_s", c.rank_flops_per_s, "operations per second");
  expect_positive("node_memory_bytes", c.node_memory_bytes, "bytes");
  expect_positive("file_system_Bps", c.file_system_Bps, "bytes per second");
  expect_positive("link_Bps", c.fabric.link_Bps, "bytes per second");
  expect_latency("latency_s", c.latency_s);
  expect_latency("node_latency_s", c.node_latency_s);
  expect_latency("link_latency_s", c.fabric.link_latency_s);
}

void check_needs(const Cluster& c) {
  if (c.ranks_per_node > 1) {
    expect_given("node_bus_Bps", c.node_bus_Bps, "what the ranks of a node share, in bytes per second");
    expect_given("node_latency_s", c.node_latency_s, "of a message within a node, in seconds");
  }
  if (c.nodes == 1) return;
  const bool is_crossbar = c.fabric.kind == FabricKind::crossbar;
  if (is_crossbar) {
    expect_given("nic_Bps", c.nic_Bps, "bytes per second each way");
    expect_given("latency_s", c.latency_s, "end to end, in seconds");
  }
  if (!is_crossbar) {
    expect_given("link_Bps", c.fabric.link_Bps, "bytes per second each way");
    expect_given("link_latency_s", c.fabric.link_latency_s, "of one link, in seconds");
  }
}

void check(const Fault& fault, Index nodes) {
  const bool is_nic = fault.nic != -1;
  if (is_nic == (fault.host != -1)) {
    throw InputError(fmt::format("a fault of {}", is_nic ? "both a nic and a host" : "neither a nic nor a host"),
                     "give each fault one of them: the node's number");
  }
  const Index node = is_nic ? fault.nic : fault.host;
  if (node < 0 || node >= nodes) {
    throw InputError(fmt::format("a fault of {} {} of {} nodes", is_nic ? "nic" : "host", node, nodes),
                     fmt::format("give 0 to {}", nodes - 1));
  }
  expect_given("factor", fault.factor, "of a fault, what is left of the speed: 0.5 is half");
  expect_positive("factor", fault.factor, "times the full speed");
}

}  // namespace

double Cluster::host_factor(NodeId node) const {
  double factor = 1.0;
  for (const Fault& fault : faults) {
    if (fault.host == node.value()) factor *= fault.factor;
  }
  return factor;
}

double Cluster::flops_per_s(NodeId node) const {
  expect_given("rank_flops_per_s", rank_flops_per_s, "without it nothing can be said of computing");
  return rank_flops_per_s * host_factor(node);
}

void describe(Cluster& c, OptionTable& table) {
  table.add("nodes", c.nodes, "nodes; may be left out where the fabric says");
  table.add("ranks_per_node", c.ranks_per_node, "ranks of each node");
  table.add("nic_Bps", c.nic_Bps,
            "bytes per second between a node and the fabric, each way; link_Bps where it is left out");
  table.add("node_bus_Bps", c.node_bus_Bps, "bytes per second within a node, which its ranks share");
  table.add("latency_s", c.latency_s, "seconds of a message from node to node through a crossbar, end to end");
  table.add("node_latency_s", c.node_latency_s, "seconds of a message within a node");
  table.add("rank_flops_per_s", c.rank_flops_per_s, "floating-point operations per second of a rank");
  table.add("node_memory_bytes", c.node_memory_bytes, "bytes of memory that the ranks of a node have together");
  table.add("file_system_Bps", c.file_system_Bps, "bytes per second that all nodes together write to shared files");
}

void describe(FabricSpec& f, OptionTable& table) {
  table.add("kind", f.kind, "what connects the nodes");
  table.add("routing", f.routing, "the kind's own: direct, dmodk, dimension_order, minimal");
  if (f.kind == FabricKind::crossbar) return;
  table.add("link_Bps", f.link_Bps, "bytes per second of a link, each way; nic_Bps where it is left out");
  table.add("link_latency_s", f.link_latency_s, "seconds over a link, a node's own included");
  if (f.kind == FabricKind::fat_tree) {
    table.add("nodes_per_leaf", f.nodes_per_leaf, "nodes of a leaf switch");
    table.add("leaves", f.leaves, "leaf switches");
    table.add("spines", f.spines, "spine switches: each has a link to every leaf");
    table.add("down", f.down, "for any number of levels: a switch's children, leaves first");
    table.add("up", f.up, "and a switch's parents, leaves first; the uppermost have none");
  } else if (f.kind == FabricKind::torus) {
    table.add("dims", f.dims, "nodes in each dimension; the first varies fastest with a node's number");
  } else {
    table.add("groups", f.groups, "groups, each with a link to every other");
    table.add("chassis", f.chassis, "chassis of a group");
    table.add("routers", f.routers, "routers of a chassis");
    table.add("nodes", f.nodes, "nodes of a router");
  }
}

void describe(Fault& fault, OptionTable& table) {
  table.add("nic", fault.nic, "the node whose network is slower, both ways");
  table.add("host", fault.host, "the node whose ranks compute slower");
  table.add("factor", fault.factor, "what is left of the speed");
}

Cluster checked(Cluster c) {
  const Index connected = complete_fabric(c.fabric);
  if (c.nodes == 0) c.nodes = connected;
  expect_count("nodes", c.nodes);
  expect_count("ranks_per_node", c.ranks_per_node);
  static_cast<void>(product("nodes x ranks_per_node", {c.nodes, c.ranks_per_node}));
  if (connected != 0 && c.nodes != connected) {
    throw InputError(fmt::format("nodes = {}, but the {} connects {}", c.nodes, name_of(c.fabric.kind), connected),
                     "mend one of them, or leave nodes out");
  }
  check_quantities(c);
  if (std::isnan(c.fabric.link_Bps)) c.fabric.link_Bps = c.nic_Bps;
  if (std::isnan(c.nic_Bps)) c.nic_Bps = c.fabric.link_Bps;
  check_needs(c);
  for (const Fault& fault : c.faults) check(fault, c.nodes);
  return c;
}

}  // namespace conclave::sim
