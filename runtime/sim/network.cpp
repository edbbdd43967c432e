// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/network.hpp"

#include "runtime/core/at.hpp"

namespace conclave::sim {
Network::Network(Cluster cluster) : cluster_(std::move(cluster)), fabric_(make_fabric(cluster_)) {
  if (fabric_->num_links() > most_links) {
    throw InputError(fmt::format("a {} of {} links", name_of(cluster_.fabric.kind), fabric_->num_links()),
                     fmt::format("describe one of up to {}: fewer switches, routers or groups", most_links));
  }
  const std::size_t nodes = at(cluster_.nodes);
  capacities_Bps_.assign(2 * nodes, cluster_.nic_Bps);
  capacities_Bps_.insert(capacities_Bps_.end(), nodes, cluster_.node_bus_Bps);
  capacities_Bps_.insert(capacities_Bps_.end(), at(fabric_->num_links()), cluster_.fabric.link_Bps);
  for (const Fault& fault : cluster_.faults) slow_down(fault);
}

// A slow host computes slowly; its network is as the others'.
void Network::slow_down(const Fault& fault) {
  if (fault.nic == -1) return;
  const NodeId node{fault.nic};
  for (const Index resource : {out_of(node), into(node)}) capacities_Bps_[at(resource)] *= fault.factor;
  for (const Index link : fabric_->links_of(node)) capacities_Bps_[at(first_link() + link)] *= fault.factor;
}

std::string Network::name(Index resource) const {
  if (resource >= first_link()) return fabric_->link_name(resource - first_link());
  const Index node = resource % cluster_.nodes;
  if (resource >= 2 * cluster_.nodes) return fmt::format("bus of node {}", node);
  return fmt::format("NIC of node {}, {}", node, resource < cluster_.nodes ? "out" : "in");
}

void Network::route(RankId from, RankId to, std::vector<Index>& resources) const {
  const NodeId a = cluster_.node_of(from);
  const NodeId b = cluster_.node_of(to);
  resources.clear();
  if (a == b) {
    resources.push_back(bus_of(a));
    return;
  }
  if (fabric_->has_nics()) resources.insert(resources.end(), {out_of(a), into(b)});
  fabric_->route(a, b, first_link(), resources);
}

double Network::latency_s(RankId from, RankId to) const {
  const NodeId a = cluster_.node_of(from);
  const NodeId b = cluster_.node_of(to);
  return a == b ? cluster_.node_latency_s : fabric_->latency_s(a, b);
}

Loads Network::loads(const Traffic& traffic) const {
  invariant(traffic.num_ranks() == num_ranks(), "traffic of {} ranks on {}", traffic.num_ranks(), num_ranks());
  Loads loads(num_resources());
  for (const TrafficTerm& term : traffic.terms()) {
    add_within_nodes(term, loads);
    if (term.block == 0 && cluster_.nodes > 1) add_between_nodes(term, loads);
  }
  add_pairs(traffic, loads);
  return loads;
}

// What is for others is summed as what stands before and what stands after, as in add_crossing.
void Network::add_within_nodes(const TrafficTerm& term, Loads& loads) const {
  const Index run = term.block == 0 ? cluster_.ranks_per_node : term.block;
  invariant(cluster_.ranks_per_node % run == 0, "blocks of {} ranks on nodes of {}", run, cluster_.ranks_per_node);
  for (Index begin = 0; begin < num_ranks(); begin += run) {
    double bytes = 0.0;
    double before = 0.0;
    double after = 0.0;
    for (Index i = begin, j = begin + run; j-- > begin; ++i) {
      bytes += term.sent[at(i)] * before + term.sent[at(j)] * after;
      before += term.popularity[at(i)];
      after += term.popularity[at(j)];
    }
    loads.add(bus_of(cluster_.node_of(RankId{begin})), bytes, cluster_.node_latency_s);
  }
}

void Network::add_between_nodes(const TrafficTerm& term, Loads& loads) const {
  const std::vector<double> sent = sums_of_runs(term.sent, cluster_.ranks_per_node);
  const std::vector<double> popularity = sums_of_runs(term.popularity, cluster_.ranks_per_node);
  fabric_->add_loads({sent, popularity}, first_link(), loads);
  if (!fabric_->has_nics()) return;
  Crossing crossing{std::vector(sent.size(), 0.0), std::vector(sent.size(), 0.0)};
  add_crossing({sent, popularity}, crossing);
  for (NodeId node; node < NodeId{cluster_.nodes}; ++node) {
    const double latency_s = fabric_->least_latency_s(node);
    loads.add(out_of(node), crossing.sent[at(node.value())], latency_s);
    loads.add(into(node), crossing.received[at(node.value())], latency_s);
  }
}

void Network::add_pairs(const Traffic& traffic, Loads& loads) const {
  std::vector<Index> resources;
  for (const Pair& pair : traffic.pairs()) {
    if (pair.from == pair.to || !(pair.bytes > 0.0)) continue;
    const RankId from{pair.from};
    const RankId to{pair.to};
    route(from, to, resources);
    for (const Index resource : resources) loads.add(resource, pair.bytes, latency_s(from, to));
  }
}

}  // namespace conclave::sim
