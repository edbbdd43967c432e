// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/row_exchange.hpp"

#include "comm/plan/bruck.hpp"
#include "comm/plan/hierarchical.hpp"
#include "comm/plan/pairwise.hpp"
#include "runtime/core/at.hpp"
#include "runtime/sim/bound.hpp"
#include "runtime/sim/rounds.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::sim {
namespace {

using plan::Level;

plan::Topology topology_of(const Cluster& cluster) {
  return plan::Topology::filled(cluster.num_ranks(), cluster.ranks_per_node);
}

/// What all strategies are given.
struct Case {
  const Network& network;
  const Machine* machine;
  const RowExchange& rows;
  Loads loads;  // of all rows, each sent straight to where it belongs
  [[nodiscard]] Index ranks() const { return network.num_ranks(); }
  [[nodiscard]] Index mates() const { return network.cluster().ranks_per_node; }
  [[nodiscard]] bool is_scheduled() const { return ranks() <= rows.scheduled_up_to; }
  [[nodiscard]] bool is_one_node() const { return network.cluster().nodes == 1; }
  /// Of an empty message between the two ranks that are furthest apart by number.
  [[nodiscard]] double latency_s() const { return network.latency_s(RankId{0}, RankId{ranks() - 1}); }
};

// --- What ranks do themselves ---

struct Costs {
  double posts_s = 0.0;  // of the rank that posts most
  double node_s = 0.0;   // of the rank that most comes to from its mates, message after message
  double busy_s = 0.0;   // of the rank whose computing loses most
};

const std::optional<MessageCosts>& costs_at(const Machine& machine, Level level) {
  return level == Level::node ? machine.node : machine.network;
}

double post_s(const Machine& machine, Level level) {
  const std::optional<MessageCosts>& costs = costs_at(machine, level);
  return costs ? costs->post_s.value : 0.0;
}

// A message's part of the computing that goes on meanwhile, of each of its two ranks.
double busy_s(const Machine& machine, Level level, double bytes) {
  const std::optional<MessageCosts>& costs = costs_at(machine, level);
  return costs ? costs->post_s.value + bytes * costs->busy_s_per_byte.value : 0.0;
}

double line_s(const MessageCosts& costs, double bytes) {
  const MessageLine& line = costs.line(bytes);
  return line.latency_s.value + bytes / line.Bps.value;
}

double mean_message_bytes(const Case& c) {
  return c.rows.bytes.total_bytes() / (static_cast<double>(c.ranks()) * static_cast<double>(c.ranks() - 1));
}

// Every rank with each other one, its bytes in as many even messages.
Costs costs_of_all_pairs(const Case& c, bool messages_within_nodes) {
  Costs costs;
  if (c.machine == nullptr) return costs;
  const auto others = static_cast<double>(c.ranks() - c.mates());
  const auto mates = static_cast<double>(c.mates() - 1);
  costs.posts_s = 2.0 * others * post_s(*c.machine, Level::network);
  costs.busy_s = 2.0 * others * busy_s(*c.machine, Level::network, mean_message_bytes(c));
  if (!messages_within_nodes || !c.machine->node || mates == 0.0) return costs;
  costs.posts_s += 2.0 * mates * post_s(*c.machine, Level::node);
  costs.node_s = mates * line_s(*c.machine->node, mean_message_bytes(c));
  costs.busy_s += 2.0 * mates * busy_s(*c.machine, Level::node, mean_message_bytes(c));
  return costs;
}

// Of a schedule's messages.
Costs costs_of(const Case& c, const std::vector<plan::Step>& steps, bool messages_within_nodes) {
  Costs costs;
  if (c.machine == nullptr) return costs;
  std::vector<Costs> of_rank(at(c.ranks()));
  for (const plan::Step& step : steps) {
    if (step.level == Level::self || (step.level == Level::node && !messages_within_nodes)) continue;
    for (const RankId rank : {step.from, step.to}) {
      of_rank[at(rank.value())].posts_s += post_s(*c.machine, step.level);
      of_rank[at(rank.value())].busy_s += busy_s(*c.machine, step.level, static_cast<double>(step.bytes));
    }
    if (step.level == Level::node && c.machine->node) {
      of_rank[at(step.to.value())].node_s += line_s(*c.machine->node, static_cast<double>(step.bytes));
    }
  }
  for (const Costs& rank : of_rank) {
    costs.posts_s = std::max(costs.posts_s, rank.posts_s);
    costs.node_s = std::max(costs.node_s, rank.node_s);
    costs.busy_s = std::max(costs.busy_s, rank.busy_s);
  }
  return costs;
}

double synchronise_s(const Case& c) {
  const bool is_shared = c.machine != nullptr && c.machine->shared_memory && c.mates() > 1;
  return is_shared ? c.machine->shared_memory->synchronise_s.value : 0.0;
}

// --- What the network does ---

struct Wires {
  double time_s = 0.0;
  std::string busiest{};
};

// Bytes of a rank's that stay within its node, and that others have measured, cross no bus.
bool knows_node(const Case& c, bool messages_within_nodes) {
  if (c.machine == nullptr) return false;
  return messages_within_nodes ? c.machine->node.has_value() : c.machine->shared_memory.has_value();
}

// Of `share` of the rows.
Wires bound_wires(const Case& c, double share, bool without_buses) {
  Wires wires;
  Index busiest = -1;
  for (Index r = 0; r < c.loads.size(); ++r) {
    if (!(c.loads.bytes(r) > 0.0) || (without_buses && c.network.is_bus(r))) continue;
    const double time_s = share * c.loads.bytes(r) / c.network.capacity_Bps(r) + c.loads.least_latency_s(r);
    if (busiest != -1 && time_s <= wires.time_s) continue;
    wires.time_s = time_s;
    busiest = r;
  }
  if (busiest != -1) wires.busiest = c.network.name(busiest);
  return wires;
}

Wires scheduled_wires(const Case& c, std::vector<plan::Step> steps, bool without_buses) {
  if (without_buses) std::erase_if(steps, [](const plan::Step& s) { return s.level == Level::node; });
  Wires wires = bound_wires(c, 1.0, without_buses);
  wires.time_s = schedule_s(c.network, std::move(steps));
  return wires;
}

plan::Traffic whole_bytes(const Case& c) {
  return [&c](RankId from, RankId to) { return static_cast<Index>(std::llround(c.rows.bytes.bytes(from, to))); };
}

RowExchangePrice priced(const Case& c, std::string name, const Wires& wires, const Costs& costs, bool in_turn) {
  RowExchangePrice price{.exchange = std::move(name), .bottleneck = wires.busiest};
  price.time_s = costs.posts_s + (in_turn ? wires.time_s + costs.node_s : std::max(wires.time_s, costs.node_s));
  price.busy_s = std::min(price.time_s, costs.busy_s);
  if (costs.node_s > wires.time_s) price.bottleneck = "messages within nodes";
  if (costs.posts_s > std::max(wires.time_s, costs.node_s)) price.bottleneck = "posting messages";
  if (price.bottleneck.empty() && price.time_s > 0.0) price.bottleneck = "synchronisation within nodes";
  if (c.ranks() == 1) return {.exchange = price.exchange};
  return price;
}

// With all links alike busy, rows take `even` times as long as one link's bytes do: each link waits for others now and
// then, and the last one counts. Links that have less to carry catch up meanwhile. So times of links are put together
// by the power mean's sum, (sum_l t_l^p)^(1/p), which is `even` times the busiest where all are alike, and the busiest
// itself where no other is nearly as busy.
double over_busiest(const Case& c, double even) {
  if (even <= 1.0) return even;
  std::vector<double> seconds;
  for (Index r = 0; r < c.loads.size(); ++r) {
    if (c.loads.bytes(r) > 0.0 && !c.network.is_bus(r)) seconds.push_back(c.loads.bytes(r) / c.network.capacity_Bps(r));
  }
  if (seconds.empty()) return even;
  const double busiest_s = *std::ranges::max_element(seconds);
  const double power = std::log(2.0 * static_cast<double>(c.network.cluster().nodes)) / std::log(even);
  double sum = 0.0;
  for (const double s : seconds) sum += std::pow(s / busiest_s, power);
  return std::min(even, std::pow(sum, 1.0 / power));
}

// --- Strategies ---

RowExchangePrice price_flat(const Case& c) {
  const bool known = knows_node(c, true);
  if (c.is_scheduled()) {
    const auto steps = plan::flat_schedule(topology_of(c.network.cluster()), whole_bytes(c));
    return priced(c, "flat", scheduled_wires(c, steps, known), costs_of(c, steps, true), false);
  }
  return priced(c, "flat", bound_wires(c, 1.0, known), costs_of_all_pairs(c, true), false);
}

RowExchangePrice price_pairwise(const Case& c) {
  const bool known = knows_node(c, true);
  if (c.is_scheduled()) {
    const auto steps = plan::pairwise_schedule(topology_of(c.network.cluster()), whole_bytes(c));
    return priced(c, "pairwise", scheduled_wires(c, steps, known), costs_of(c, steps, true), true);
  }
  Wires wires = bound_wires(c, 1.0, known);
  const double phases = std::ceil(static_cast<double>(c.ranks() - 1) / plan::pairwise_rounds_at_once);
  wires.time_s += (phases - 1.0) * c.latency_s();
  return priced(c, "pairwise", wires, costs_of_all_pairs(c, true), true);
}

// With many ranks every message of a round is the mean of what a rank sends.
RowExchangePrice price_bruck(const Case& c) {
  const bool known = knows_node(c, true);
  const plan::Topology topology = topology_of(c.network.cluster());
  if (c.is_scheduled()) {
    const auto steps = plan::bruck_schedule(topology, whole_bytes(c));
    return priced(c, "bruck", scheduled_wires(c, steps, known), costs_of(c, steps, true), true);
  }
  const double block = mean_message_bytes(c);
  const plan::BruckPlan plan(c.ranks());
  RoundClock clock(c.network);
  std::vector<Pair> messages(at(c.ranks()));
  Costs costs;
  for (Index round = 0; round < plan.num_rounds(); ++round) {
    const double rows = block * static_cast<double>(plan.positions(round).size());
    const auto bytes = static_cast<double>(plan.message_bytes(round, static_cast<Index>(rows)));
    if (c.machine != nullptr) {
      costs.posts_s += 2.0 * post_s(*c.machine, Level::network);
      costs.busy_s += 2.0 * busy_s(*c.machine, Level::network, bytes);
    }
    for (RankId rank; rank < RankId{c.ranks()}; ++rank) {
      messages[at(rank.value())] = {static_cast<std::uint32_t>(rank.value()),
                                    static_cast<std::uint32_t>(plan.to(rank, round).value()), bytes};
    }
    clock.advance(messages);
  }
  const Index busiest = clock.busiest_resource();
  return priced(c, "bruck", {clock.time_s(), busiest == -1 ? std::string{} : c.network.name(busiest)}, costs, true);
}

RowExchangePrice price_shared(const Case& c) {
  const bool known = knows_node(c, false);
  Costs costs;
  Wires wires;
  if (c.is_scheduled()) {
    const auto steps = plan::shared_schedule(topology_of(c.network.cluster()), whole_bytes(c));
    wires = scheduled_wires(c, steps, known);
    costs = costs_of(c, steps, false);
  } else {
    wires = bound_wires(c, 1.0, known);
    costs = costs_of_all_pairs(c, false);
  }
  RowExchangePrice price = priced(c, "shared", wires, costs, false);
  price.time_s += synchronise_s(c);
  return price;
}

// With many ranks: what crosses the network is less its copies; rounds of large bundles follow one another; what comes
// in is copied once more within the node.
RowExchangePrice price_hierarchical(const Case& c) {
  const bool known = knows_node(c, false);
  const Cluster& cluster = c.network.cluster();
  Wires wires;
  Costs costs;
  if (c.is_scheduled()) {
    const plan::Topology topology = topology_of(cluster);
    const double row_bytes = std::max(1.0, c.rows.row_bytes);
    const auto rows = [&](RankId from, RankId to) {
      return static_cast<Index>(std::llround(c.rows.bytes.bytes(from, to) / row_bytes));
    };
    const auto distinct = [&](RankId from, NodeId to) {
      Index sum = 0;
      for (const RankId rank : topology.ranks(to)) sum += rows(from, rank);
      return static_cast<Index>(std::llround(c.rows.distinct * static_cast<double>(sum)));
    };
    const auto steps =
        plan::hierarchical_schedule(topology, {rows, distinct, static_cast<Index>(std::llround(row_bytes))});
    wires = scheduled_wires(c, steps, known);
    costs = costs_of(c, steps, false);
  } else {
    wires = bound_wires(c, c.rows.distinct, known);
    const auto nodes = static_cast<double>(cluster.nodes);
    const double bundle = c.rows.distinct * c.rows.bytes.total_bytes() / (nodes * nodes);
    if (bundle > static_cast<double>(plan::most_bytes_of_small_bundle)) {
      wires.time_s += std::max(0.0, nodes - 2.0) * c.latency_s();
    }
    if (c.machine != nullptr) {
      costs.posts_s =
          2.0 * std::ceil((nodes - 1.0) / static_cast<double>(c.mates())) * post_s(*c.machine, Level::network);
    }
  }
  RowExchangePrice price = priced(c, "hierarchical", wires, costs, true);
  price.time_s += (c.is_one_node() ? 1.0 : 3.0) * synchronise_s(c);
  if (known && !c.is_one_node()) {
    const double arrived = c.rows.bytes.total_bytes() / static_cast<double>(c.ranks()) *
                           static_cast<double>(cluster.nodes - 1) / static_cast<double>(cluster.nodes);
    price.time_s += arrived / c.machine->shared_memory->copy_Bps.value;
  }
  return price;
}

struct Priced {
  std::string_view name;
  RowExchangePrice (*price)(const Case& c);
  Way way = Way::direct;
};
constexpr std::array<Priced, 5> strategies{{{"flat", price_flat},
                                            {"pairwise", price_pairwise},
                                            {"bruck", price_bruck, Way::passed_on},
                                            {"shared", price_shared},
                                            {"hierarchical", price_hierarchical, Way::bundled}}};

// comm/mpi/auto_exchange.cpp tries bruck where messages are small, and hierarchical between nodes.
bool is_tried(const Case& c, std::string_view name) {
  const auto ranks = static_cast<double>(c.ranks());
  if (name == "bruck") {
    return c.rows.bytes.total_bytes() / (ranks * ranks) <= static_cast<double>(plan::most_bytes_of_bruck_message);
  }
  return name != "hierarchical" || !c.is_one_node();
}

}  // namespace

std::vector<std::string> priced_exchanges() {
  std::vector<std::string> names{"auto"};
  for (const Priced& strategy : strategies) names.emplace_back(strategy.name);
  return names;
}

RowExchangePrice price_rows(const Network& network, const Machine* machine, const std::string& exchange,
                            const RowExchange& rows) {
  const Case c{network, machine, rows, network.loads(rows.bytes)};
  std::optional<RowExchangePrice> best;
  for (const Priced& strategy : strategies) {
    if (exchange != strategy.name && !(exchange == "auto" && is_tried(c, strategy.name))) continue;
    RowExchangePrice price = strategy.price(c);
    price.way = strategy.way;
    if (machine != nullptr && !c.is_one_node()) {
      const double even = machine->over_price(strategy.name, mean_message_bytes(c));
      price.time_s *= strategy.way == Way::passed_on ? even : over_busiest(c, even);
      price.busy_s = std::min(price.busy_s, price.time_s);
    }
    if (!best || price.time_s < best->time_s) best = price;
  }
  if (best) return *best;
  throw InputError(fmt::format("the simulator has no price for the exchange '{}'{}", exchange,
                               did_you_mean(nearest_names(exchange, priced_exchanges()))),
                   fmt::format("it knows {}", fmt::join(priced_exchanges(), ", ")));
}

}  // namespace conclave::sim
