// SPDX-License-Identifier: BSD-3-Clause
// A simulated machine as SimGrid has it. Resources and routes are those of the simulator's network; how flows share
// them, and when each ends, is SimGrid's own.
#pragma once

#include "runtime/sim/network.hpp"

#include <simgrid/s4u.hpp>

namespace conclave::sim {

/// Who makes messages late.
enum class LatencyOf { links, senders };

/// One network zone: a host a rank, a shared link a resource, a route from each host to each other.
class Platform {
 public:
  /// Names within SimGrid begin with `name`. With LatencyOf::links each link has its latency; else none has.
  Platform(const std::string& name, const Cluster& cluster, LatencyOf latency, const simgrid::s4u::NetZone* parent);

  [[nodiscard]] simgrid::s4u::Host* host(Index rank) const { return hosts_[static_cast<std::size_t>(rank)]; }
  /// Seconds of an empty message: what the links on its way have, added up.
  [[nodiscard]] double latency_s(RankId from, RankId to) const;

 private:
  void add_links(const std::string& name, LatencyOf latency);
  void add_routes();
  [[nodiscard]] double link_latency_s(Index resource) const;

  Network network_;
  simgrid::s4u::NetZone* zone_;
  std::vector<simgrid::s4u::Host*> hosts_;  // [num_ranks]
  std::vector<simgrid::s4u::Link*> links_;  // [num_resources]
};

}  // namespace conclave::sim
