// SPDX-License-Identifier: BSD-3-Clause
// The simulated machine as resources that flows share: of each node its NIC out, its NIC in and its bus, then the
// fabric's links. What stays within a node uses its bus alone, what leaves it its NICs and links.
#pragma once

#include "runtime/sim/fabric.hpp"
#include "runtime/sim/traffic.hpp"

namespace conclave::sim {

/// Of a fabric: a gigabyte of bandwidths.
inline constexpr Index most_links = Index{1} << 27;

class Network {
 public:
  /// Of a checked cluster. InputError for a fabric of more than most_links.
  explicit Network(Cluster cluster);

  [[nodiscard]] const Cluster& cluster() const { return cluster_; }
  [[nodiscard]] Index num_ranks() const { return cluster_.num_ranks(); }
  [[nodiscard]] Index num_resources() const { return std::ssize(capacities_Bps_); }
  [[nodiscard]] double capacity_Bps(Index resource) const {
    return capacities_Bps_[static_cast<std::size_t>(resource)];
  }
  /// "NIC of node 5, in", "down-link 1 of leaf 2".
  [[nodiscard]] std::string name(Index resource) const;

  /// Whether it is what the ranks of a node share within it, and no other node's messages use.
  [[nodiscard]] bool is_bus(Index resource) const { return 2 * cluster_.nodes <= resource && resource < first_link(); }
  /// The resources that a message between two different ranks uses, in place of what was in `resources`.
  void route(RankId from, RankId to, std::vector<Index>& resources) const;
  /// Resources of the longest route.
  [[nodiscard]] Index most_hops() const { return 2 + fabric_->most_links(); }
  /// Seconds of an empty message between two different ranks.
  [[nodiscard]] double latency_s(RankId from, RankId to) const;

  /// What every resource carries. Costs O(ranks * levels) for each of the traffic's terms, and O(route) for each pair.
  [[nodiscard]] Loads loads(const Traffic& traffic) const;

 private:
  [[nodiscard]] Index out_of(NodeId node) const { return node.value(); }
  [[nodiscard]] Index into(NodeId node) const { return cluster_.nodes + node.value(); }
  [[nodiscard]] Index bus_of(NodeId node) const { return 2 * cluster_.nodes + node.value(); }
  [[nodiscard]] Index first_link() const { return 3 * cluster_.nodes; }
  void slow_down(const Fault& fault);
  void add_within_nodes(const TrafficTerm& term, Loads& loads) const;
  void add_between_nodes(const TrafficTerm& term, Loads& loads) const;
  void add_pairs(const Traffic& traffic, Loads& loads) const;

  Cluster cluster_;
  std::unique_ptr<Fabric> fabric_;
  std::vector<double> capacities_Bps_;  // [num_resources]
};

}  // namespace conclave::sim
