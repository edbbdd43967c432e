// SPDX-License-Identifier: BSD-3-Clause
// What is between nodes: links, the one route from each node to each other, and what each link carries of an exchange.
// One file a kind; the table in fabric.cpp makes them. Routes do not depend on load.
#pragma once

#include "runtime/sim/cluster.hpp"

#include <algorithm>
#include <memory>
#include <span>

namespace conclave::sim {

/// Node s sends sent[s] * popularity[d] bytes to node d. Both [num_nodes].
struct NodeTerm {
  std::span<const double> sent;
  std::span<const double> popularity;
};

/// Of each run of so many values, one after another, the sum.
[[nodiscard]] std::vector<double> sums_of_runs(std::span<const double> values, Index run);

/// What each node sends to others and gets from them. Both [num_nodes].
struct Crossing {
  std::vector<double> sent;
  std::vector<double> received;
};
/// Adds a term's.
void add_crossing(const NodeTerm& term, Crossing& crossing);

/// What resources carry, and the least latency of what they carry.
class Loads {
 public:
  explicit Loads(Index num_resources)
      : bytes_(static_cast<std::size_t>(num_resources), 0.0),
        latency_s_(static_cast<std::size_t>(num_resources), std::numeric_limits<double>::infinity()) {}
  /// No bytes are no flow.
  void add(Index resource, double bytes, double latency_s) {
    if (!(bytes > 0.0)) return;
    const auto i = static_cast<std::size_t>(resource);
    bytes_[i] += bytes;
    latency_s_[i] = std::min(latency_s_[i], latency_s);
  }
  [[nodiscard]] Index size() const { return std::ssize(bytes_); }
  [[nodiscard]] double bytes(Index resource) const { return bytes_[static_cast<std::size_t>(resource)]; }
  /// Infinity where nothing is carried.
  [[nodiscard]] double least_latency_s(Index resource) const { return latency_s_[static_cast<std::size_t>(resource)]; }

 private:
  std::vector<double> bytes_;      // [num_resources]
  std::vector<double> latency_s_;  // [num_resources]
};

class Fabric {
 public:
  virtual ~Fabric() = default;
  /// Whether a node's way in and out is a NIC with a bandwidth of its own; else it is links of the fabric.
  [[nodiscard]] virtual bool has_nics() const { return true; }
  [[nodiscard]] virtual Index num_links() const = 0;
  /// Of the longest route, NICs left out.
  [[nodiscard]] virtual Index most_links() const = 0;
  /// "down-link 1 of leaf 2".
  [[nodiscard]] virtual std::string link_name(Index link) const = 0;
  /// Links that are the node's own, where it has no NIC.
  [[nodiscard]] virtual std::vector<Index> links_of(NodeId) const { return {}; }
  /// Appends first_link plus the number of each link on the way, NICs left out. The nodes differ.
  virtual void route(NodeId from, NodeId to, Index first_link, std::vector<Index>& links) const = 0;
  /// Of a message between two different nodes, NICs included.
  [[nodiscard]] virtual double latency_s(NodeId from, NodeId to) const = 0;
  /// To the nearest of the other nodes, of which there is one at least.
  [[nodiscard]] virtual double least_latency_s(NodeId from) const = 0;
  /// Adds what each link carries of a term, first_link being the number of the first. Without a loop over pairs of
  /// nodes, so latencies are the least that any route over the link has, whether that pair has anything to send or not.
  virtual void add_loads(const NodeTerm& term, Index first_link, Loads& loads) const = 0;
};

[[nodiscard]] std::unique_ptr<Fabric> make_fabric(const Cluster& cluster);

[[nodiscard]] std::unique_ptr<Fabric> make_crossbar(const Cluster& cluster);
[[nodiscard]] std::unique_ptr<Fabric> make_fat_tree(const Cluster& cluster);
[[nodiscard]] std::unique_ptr<Fabric> make_torus(const Cluster& cluster);
[[nodiscard]] std::unique_ptr<Fabric> make_dragonfly(const Cluster& cluster);

}  // namespace conclave::sim
