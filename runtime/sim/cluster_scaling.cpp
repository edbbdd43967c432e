// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/cluster_scaling.hpp"

#include <algorithm>

namespace conclave::sim {
namespace {

// `count` things in levels of so many, the inner ones filled first and the outermost as large as need be. Levels that
// are not needed are 1.
std::vector<Index> filled_levels(Index count, std::vector<Index> levels, std::string_view what) {
  Index left = count;
  for (std::size_t l = 0; l < levels.size(); ++l) {
    const bool is_outermost = l + 1 == levels.size();
    const Index here = is_outermost ? left : std::min(levels[l], left);
    if (left % here != 0) {
      const Index whole = count / left * here;
      throw InputError(fmt::format("{} nodes do not fill {} of {} evenly", count, what, whole),
                       fmt::format("ask for a multiple of {} nodes, or describe another fabric", whole));
    }
    levels[l] = here;
    left /= here;
  }
  return levels;
}

void scale_fat_tree(FabricSpec& fabric, Index nodes) {
  const std::vector<Index> described =
      fabric.down.empty() ? std::vector<Index>{fabric.nodes_per_leaf, fabric.leaves} : fabric.down;
  const std::vector<Index> parents = fabric.down.empty() ? std::vector<Index>{fabric.spines} : fabric.up;
  fabric.down = filled_levels(nodes, described, "the switches of a fat tree");
  fabric.up = parents;
  // A level of one switch has nobody above.
  while (fabric.down.size() > 1 && fabric.down.back() == 1) {
    fabric.down.pop_back();
    fabric.up.pop_back();
  }
  fabric.nodes_per_leaf = fabric.leaves = fabric.spines = 0;
}

void scale_dragonfly(FabricSpec& fabric, Index nodes) {
  const std::vector<Index> levels = filled_levels(nodes, {fabric.nodes, fabric.routers, fabric.chassis, fabric.groups},
                                                  "the routers and groups of a dragonfly");
  fabric.nodes = levels[0];
  fabric.routers = levels[1];
  fabric.chassis = levels[2];
  fabric.groups = levels[3];
}

// Prime factors, the largest first, each to the dimension that is the smallest so far.
void scale_torus(FabricSpec& fabric, Index nodes) {
  std::vector<Index> factors;
  Index left = nodes;
  for (Index p = 2; p * p <= left; ++p) {
    for (; left % p == 0; left /= p) factors.push_back(p);
  }
  if (left > 1) factors.push_back(left);
  std::fill(fabric.dims.begin(), fabric.dims.end(), 1);
  for (auto factor = factors.rbegin(); factor != factors.rend(); ++factor) {
    *std::min_element(fabric.dims.begin(), fabric.dims.end()) *= *factor;
  }
}

void scale_fabric(FabricSpec& fabric, Index nodes) {
  switch (fabric.kind) {
    case FabricKind::crossbar:
      return;
    case FabricKind::fat_tree:
      return scale_fat_tree(fabric, nodes);
    case FabricKind::torus:
      return scale_torus(fabric, nodes);
    case FabricKind::dragonfly:
      return scale_dragonfly(fabric, nodes);
  }
}

}  // namespace

Cluster scaled_to(const Cluster& described, Index ranks) {
  if (ranks < 1) throw InputError(fmt::format("{} ranks", ranks), "ask for at least 1");
  if (ranks == described.num_ranks()) return described;
  Cluster cluster = described;
  cluster.ranks_per_node = std::min(described.ranks_per_node, ranks);
  if (ranks % cluster.ranks_per_node != 0) {
    const Index whole = ranks / cluster.ranks_per_node * cluster.ranks_per_node;
    throw InputError(fmt::format("{} ranks on nodes of {}", ranks, cluster.ranks_per_node),
                     fmt::format("the simulator fills nodes evenly: ask for {} or {}, or describe other nodes", whole,
                                 whole + cluster.ranks_per_node));
  }
  cluster.nodes = ranks / cluster.ranks_per_node;
  scale_fabric(cluster.fabric, cluster.nodes);
  std::erase_if(cluster.faults, [&](const Fault& fault) { return std::max(fault.nic, fault.host) >= cluster.nodes; });
  return checked(std::move(cluster));
}

}  // namespace conclave::sim
