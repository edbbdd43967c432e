// SPDX-License-Identifier: BSD-3-Clause
// Machines and traffic for tests.
#pragma once

#include "runtime/core/random.hpp"
#include "runtime/sim/network.hpp"

namespace conclave::sim {

/// The machine of the known answers: 12.5 GB/s a NIC each way, 1 us end to end; 10 GB/s and 0.3 us within a node.
inline Cluster known_cluster(Index nodes, Index ranks_per_node = 1, FabricSpec fabric = {}) {
  Cluster cluster{.nodes = nodes,
                  .ranks_per_node = ranks_per_node,
                  .nic_Bps = 12.5e9,
                  .node_bus_Bps = 1e10,
                  .latency_s = 1e-6,
                  .node_latency_s = 3e-7,
                  .rank_flops_per_s = 1e11,
                  .fabric = std::move(fabric),
                  .faults = {}};
  if (cluster.fabric.kind != FabricKind::crossbar) {
    cluster.fabric.link_Bps = 12.5e9;
    cluster.fabric.link_latency_s = 1e-6;
  }
  return checked(std::move(cluster));
}

inline FabricSpec fat_tree(std::vector<Index> down, std::vector<Index> up) {
  FabricSpec fabric{.kind = FabricKind::fat_tree};
  fabric.down = std::move(down);
  fabric.up = std::move(up);
  return fabric;
}

inline FabricSpec torus(std::vector<Index> dims) {
  FabricSpec fabric{.kind = FabricKind::torus};
  fabric.dims = std::move(dims);
  return fabric;
}

inline FabricSpec dragonfly(Index groups, Index chassis, Index routers, Index nodes) {
  FabricSpec fabric{.kind = FabricKind::dragonfly};
  fabric.groups = groups;
  fabric.chassis = chassis;
  fabric.routers = routers;
  fabric.nodes = nodes;
  return fabric;
}

/// A machine of every kind, with one rank and with several a node, with dimensions that are even, odd, and one.
inline std::vector<Cluster> all_kinds() {
  return {known_cluster(7),
          known_cluster(5, 3),
          known_cluster(1, 6),
          known_cluster(1),
          known_cluster(24, 1, fat_tree({4, 6}, {3})),
          known_cluster(12, 2, fat_tree({3, 4}, {2})),
          known_cluster(24, 1, fat_tree({2, 3, 4}, {2, 3})),
          known_cluster(8, 1, fat_tree({8}, {})),
          known_cluster(24, 1, torus({2, 3, 4})),
          known_cluster(5, 2, torus({5})),
          known_cluster(12, 1, torus({1, 6, 2})),
          known_cluster(36, 1, dragonfly(3, 2, 3, 2)),
          known_cluster(20, 2, dragonfly(5, 1, 2, 2)),
          known_cluster(6, 1, dragonfly(1, 2, 3, 1))};
}

inline std::string text_of(const Cluster& cluster) {
  return fmt::format("{} nodes of {} ranks, {} down [{}] dims [{}] groups {}", cluster.nodes, cluster.ranks_per_node,
                     name_of(cluster.fabric.kind), fmt::join(cluster.fabric.down, ","),
                     fmt::join(cluster.fabric.dims, ","), cluster.fabric.groups);
}

/// Numbers in (0, 1); `what` tells arrays apart.
inline std::vector<double> uniform_values(Index count, Index what) {
  const Random random(11, RandomStream::initial, what);
  std::vector<double> values;
  for (Index i = 0; i < count; ++i) values.push_back(random.uniform(i, 0));
  return values;
}

/// Two classes of sources, one of which is of some ranks alone and avoids others; what mates have for one another; and
/// a few pairs.
inline Traffic mixed_traffic(const Cluster& cluster, Index what = 0) {
  const Index ranks = cluster.num_ranks();
  Traffic traffic(ranks);
  TrafficTerm dense{uniform_values(ranks, 10 * what), uniform_values(ranks, 10 * what + 1)};
  for (double& bytes : dense.sent) bytes *= 1e6;
  traffic.add(dense);
  TrafficTerm sparse{uniform_values(ranks, 10 * what + 2), uniform_values(ranks, 10 * what + 3)};
  for (Index r = 0; r < ranks; ++r) {
    const auto i = static_cast<std::size_t>(r);
    sparse.sent[i] = r % 3 == 0 ? 3e6 * sparse.sent[i] : 0.0;
    sparse.popularity[i] = r % 5 == 1 ? 0.0 : sparse.popularity[i] * sparse.popularity[i];
  }
  traffic.add(sparse);
  TrafficTerm mates{uniform_values(ranks, 10 * what + 4), uniform_values(ranks, 10 * what + 5), cluster.ranks_per_node};
  for (double& bytes : mates.sent) bytes *= 1e5;
  traffic.add(mates);
  const std::vector<double> places = uniform_values(2 * ranks, 10 * what + 6);
  for (std::size_t i = 0; i + 1 < places.size(); i += 2) {
    traffic.add(Pair{static_cast<std::uint32_t>(places[i] * static_cast<double>(ranks)),
                     static_cast<std::uint32_t>(places[i + 1] * static_cast<double>(ranks)), 2e6 * places[i]});
  }
  return traffic;
}

}  // namespace conclave::sim
