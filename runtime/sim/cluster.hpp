// SPDX-License-Identifier: BSD-3-Clause
// The machine that is simulated, as its users describe it: nodes and their ranks, the ways out of a node, the fabric
// between nodes, and what of it is slower than the rest. Bandwidths are bytes per second each way, latencies seconds.
#pragma once

#include "runtime/core/ids.hpp"
#include "runtime/core/options.hpp"

#include <array>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::sim {

/// A quantity that the description leaves out. What is needed and left out is an error, not zero.
inline constexpr double not_given = std::numeric_limits<double>::quiet_NaN();

enum class FabricKind { crossbar, fat_tree, torus, dragonfly };
inline constexpr std::array<EnumName<FabricKind>, 4> enum_names(FabricKind) {
  return {{{FabricKind::crossbar, "crossbar"},
           {FabricKind::fat_tree, "fat_tree"},
           {FabricKind::torus, "torus"},
           {FabricKind::dragonfly, "dragonfly"}}};
}

/// What connects the nodes. Counts of other kinds than `kind` are not looked at.
struct FabricSpec {
  FabricKind kind = FabricKind::crossbar;
  std::string routing{};  // the kind's only one, or empty
  double link_Bps = not_given;
  double link_latency_s = not_given;
  // Fat tree. Two levels by three counts, or any number by `down` and `up`, of which the counts are the short form.
  Index nodes_per_leaf = 0;
  Index leaves = 0;
  Index spines = 0;
  std::vector<Index> down{};  // children of a switch, leaves first: what each level multiplies
  std::vector<Index> up{};    // parents of a switch, leaves first; one level fewer
  std::vector<Index> dims{};  // torus
  // Dragonfly.
  Index groups = 0;
  Index chassis = 0;  // of a group
  Index routers = 0;  // of a chassis
  Index nodes = 0;    // of a router
};

/// A node that is slower than the others: its network, both ways, or its ranks' computing; one of the two.
struct Fault {
  Index nic = -1;   // a node
  Index host = -1;  // a node
  double factor = not_given;
};

struct Cluster {
  Index nodes = 0;  // 0: as many as the fabric connects
  Index ranks_per_node = 1;
  double nic_Bps = not_given;
  double node_bus_Bps = not_given;  // shared by a node's ranks, for what stays within it
  double latency_s = not_given;     // end to end through a crossbar
  double node_latency_s = not_given;
  double rank_flops_per_s = not_given;
  double node_memory_bytes = not_given;  // for the ranks of a node together
  double file_system_Bps = not_given;    // that all nodes together write to shared files
  FabricSpec fabric{};
  std::vector<Fault> faults{};

  [[nodiscard]] Index num_ranks() const { return nodes * ranks_per_node; }
  /// Ranks fill node after node.
  [[nodiscard]] NodeId node_of(RankId rank) const { return NodeId{rank.value() / ranks_per_node}; }
  [[nodiscard]] Range ranks_of(NodeId node) const {
    return {node.value() * ranks_per_node, (node.value() + 1) * ranks_per_node};
  }
  /// What is left of the speed of a node's ranks: 1 unless it is a faulty host.
  [[nodiscard]] double host_factor(NodeId node) const;
  /// Floating-point operations per second of each of a node's ranks. InputError if the description does not say.
  [[nodiscard]] double flops_per_s(NodeId node) const;
};

/// The keys of a cluster file, and of its fabric, by the fabric's kind.
void describe(Cluster& cluster, OptionTable& table);
void describe(FabricSpec& fabric, OptionTable& table);
void describe(Fault& fault, OptionTable& table);

/// Completes what follows from the rest (number of nodes, a fat tree's levels, a bandwidth of links that is the NICs',
/// or the other way round).
/// InputError, naming key, value and remedy, for what is out of range, missing, or does not multiply out.
[[nodiscard]] Cluster checked(Cluster cluster);

/// A cluster as JSON, with the keys described above, "fabric": {"kind": ..., ...} and "faults": [{...}]. InputError,
/// beginning with `where`, for what is not JSON, for unknown keys with the nearest ones, and as `checked`.
[[nodiscard]] Cluster read_cluster(std::string_view json, std::string_view where);

/// A described machine that comes with the program.
struct ClusterPreset {
  std::string_view name;
  std::string_view help;
  std::string_view json;
};
[[nodiscard]] const std::vector<ClusterPreset>& cluster_presets();

}  // namespace conclave::sim
