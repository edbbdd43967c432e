// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/gather_price.hpp"

#include "comm/plan/gather.hpp"
#include "comm/plan/reduce_plan.hpp"
#include "runtime/sim/rounds.hpp"
#include "runtime/sim/workload.hpp"

#include <algorithm>

namespace conclave::sim {
namespace {

/// A gathering's slices, taken for alike. Where there are fewer blocks than ranks some have one and others nothing:
/// then each counts with its share.
struct Slices {
  double bytes = 0.0;
  Index largest_bytes = 0;
};

Slices slices_of(Index elements, Index ranks) {
  const Index largest = plan::ReducePlan::largest_slice(elements, ranks) * static_cast<Index>(element_bytes);
  const double mean = element_bytes * static_cast<double>(elements) / static_cast<double>(ranks);
  return {plan::ReducePlan::blocks_of_elements(elements) < ranks ? mean : static_cast<double>(largest), largest};
}

// What the ranks of a node share out of `count` slices that each of them has.
double share_s(const Cluster& cluster, const Machine* machine, double slice_bytes, Index count) {
  const auto mates = static_cast<double>(cluster.ranks_per_node - 1);
  const auto slices = static_cast<double>(count);
  if (mates == 0.0) return 0.0;
  if (machine != nullptr && machine->node) {
    const MessageLine& line = machine->node->line(slice_bytes);
    return mates * slices * (line.latency_s.value + slice_bytes / line.Bps.value + 2.0 * machine->node->post_s.value);
  }
  const double bytes = mates * static_cast<double>(cluster.ranks_per_node) * slices * slice_bytes;
  return cluster.node_latency_s + bytes / cluster.node_bus_Bps;
}

// Its nodes, each as one rank: which of a node's ranks sends is nothing to links.
Network network_of_nodes(const Network& network) {
  Cluster cluster = network.cluster();
  cluster.ranks_per_node = 1;
  return Network(std::move(cluster));
}

// Of what each node has for the one `distance` further on.
RoundClock round_between_nodes(const Network& nodes, Index distance, double bytes) {
  std::vector<Pair> messages;
  for (Index node = 0; node < nodes.num_ranks(); ++node) {
    const Index to = (node + distance) % nodes.num_ranks();
    messages.push_back({static_cast<std::uint32_t>(node), static_cast<std::uint32_t>(to), bytes});
  }
  RoundClock clock(nodes);
  clock.advance(messages);
  return clock;
}

}  // namespace

GatheringPrice price_gathering(const Network& network, const Machine* machine, Index elements) {
  const Cluster& cluster = network.cluster();
  const Slices slices = slices_of(elements, network.num_ranks());
  if (elements == 0 || network.num_ranks() == 1) return {};
  const double post_s = machine != nullptr && machine->network ? machine->network->post_s.value : 0.0;
  GatheringPrice price{0.0, "messages within nodes"};
  double share = share_s(cluster, machine, slices.bytes, 1);
  const Network nodes = network_of_nodes(network);
  plan::GatherRound last{};
  double wires_s = 0.0;  // of rounds like the last one
  for (const plan::GatherRound& round : plan::gather_rounds(cluster.nodes, slices.largest_bytes)) {
    const Index count = round.ages.size();
    if (round.distance != last.distance || count != last.ages.size()) {
      const double bytes = slices.bytes * static_cast<double>(count * cluster.ranks_per_node);
      const RoundClock clock = round_between_nodes(nodes, round.distance, bytes);
      wires_s = clock.time_s() + 2.0 * static_cast<double>(count) * post_s;
      if (wires_s > share) price.bottleneck = network.name(clock.busiest_resource());
    }
    price.time_s += std::max(wires_s, share);
    share = share_s(cluster, machine, slices.bytes, count);
    last = round;
  }
  price.time_s += share;
  if (machine != nullptr && cluster.nodes > 1) {
    price.time_s *= machine->over_price(exchange_of_parameters, slices.bytes);
  }
  return price;
}

}  // namespace conclave::sim
