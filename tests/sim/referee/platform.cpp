// SPDX-License-Identifier: BSD-3-Clause
#include "tests/sim/referee/platform.hpp"

namespace conclave::sim {
namespace {

namespace s4u = simgrid::s4u;

constexpr double any_speed = 1.0;  // hosts compute nothing

}  // namespace

Platform::Platform(const std::string& name, const Cluster& cluster, LatencyOf latency, const s4u::NetZone* parent)
    : network_(cluster), zone_(s4u::create_full_zone(name)) {
  zone_->set_parent(parent);
  for (Index rank = 0; rank < network_.num_ranks(); ++rank) {
    hosts_.push_back(zone_->create_host(fmt::format("{}, rank {}", name, rank), any_speed));
  }
  add_links(name, latency);
  add_routes();
  zone_->seal();
}

void Platform::add_links(const std::string& name, LatencyOf latency) {
  for (Index resource = 0; resource < network_.num_resources(); ++resource) {
    // A link's two ways are two resources.
    s4u::Link* link =
        zone_->create_link(fmt::format("{}, resource {}", name, resource), network_.capacity_Bps(resource));
    link->set_sharing_policy(s4u::Link::SharingPolicy::SHARED);
    link->set_latency(latency == LatencyOf::links ? link_latency_s(resource) : 0.0);
    links_.push_back(link->seal());
  }
}

void Platform::add_routes() {
  std::vector<Index> resources;
  for (Index from = 0; from < network_.num_ranks(); ++from) {
    for (Index to = 0; to < network_.num_ranks(); ++to) {
      if (from == to) continue;
      network_.route(RankId{from}, RankId{to}, resources);
      std::vector<s4u::LinkInRoute> route;
      for (const Index resource : resources) route.emplace_back(links_[static_cast<std::size_t>(resource)]);
      zone_->add_route(host(from)->get_netpoint(), host(to)->get_netpoint(), nullptr, nullptr, route, false);
    }
  }
}

// A crossbar's latency is from end to end, over two NICs; elsewhere each link has one, the node's own included.
double Platform::link_latency_s(Index resource) const {
  const Cluster& cluster = network_.cluster();
  if (network_.is_bus(resource)) return cluster.node_latency_s;
  return cluster.fabric.kind == FabricKind::crossbar ? cluster.latency_s / 2.0 : cluster.fabric.link_latency_s;
}

double Platform::latency_s(RankId from, RankId to) const {
  std::vector<Index> resources;
  network_.route(from, to, resources);
  double sum_s = 0.0;
  for (const Index resource : resources) sum_s += link_latency_s(resource);
  return sum_s;
}

}  // namespace conclave::sim
