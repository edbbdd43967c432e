// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/exchange_model.hpp"

#include "comm/plan/pairwise.hpp"
#include "comm/plan/two_phase.hpp"
#include "runtime/core/at.hpp"
#include "runtime/sim/bound.hpp"
#include "runtime/sim/fluid.hpp"
#include "runtime/sim/rounds.hpp"

#include <cmath>

namespace conclave::sim {
namespace {

std::string name_or_nothing(const Network& network, Index resource) {
  return resource == -1 ? std::string{} : network.name(resource);
}

// --- All at once ---

ExchangePrice flat_bound(const Network& network, const Traffic& traffic) {
  const Bound bound = bound_of(network, traffic);
  return {bound.time_s, {{"exchange", bound.time_s}}, name_or_nothing(network, bound.resource), Tier::bound, {}, 0.0};
}

// What limits is what the bound names: shares of other resources change while flows end, its load does not.
ExchangePrice flat_fluid(const Network& network, const Traffic& traffic) {
  const FluidTime fluid = fluid_of(network, traffic);
  return {fluid.time_s, {{"exchange", fluid.time_s}}, name_or_nothing(network, fluid.bound.resource),
          Tier::fluid,  fluid.bound.time_s,           fluid.window_s};
}

bool takes_seconds(const Network& network, const Traffic& traffic) {
  return traffic.most_flows() <= most_automatic_flows && most_hops(network, traffic) <= most_automatic_hops;
}

ExchangePrice price_flat(const Network& network, const Traffic& traffic, Tier tier) {
  if (tier == Tier::rounds) {
    throw InputError("tier rounds of the strategy flat, which has no rounds",
                     "use tier bound or fluid, or the strategy pairwise or hierarchical");
  }
  const bool is_fluid = tier == Tier::fluid || (tier == Tier::automatic && takes_seconds(network, traffic));
  return is_fluid ? flat_fluid(network, traffic) : flat_bound(network, traffic);
}

// --- In rounds ---

void check_rounds(const Network& network, const ExchangeOptions& options, Index num_rounds) {
  if (options.tier != Tier::automatic && options.tier != Tier::rounds) {
    throw InputError(fmt::format("tier {} of the strategy {}", name_of(options.tier), name_of(options.strategy)),
                     "use tier rounds or auto, or the strategy flat");
  }
  const double messages = static_cast<double>(network.num_ranks()) * static_cast<double>(num_rounds);
  if (messages > most_messages) {
    throw InputError(
        fmt::format("{} rounds of {} ranks, one message after another", num_rounds, network.num_ranks()),
        fmt::format("up to {:.0e} messages can be priced: use the strategy flat with tier bound", most_messages));
  }
}

// One round after another, whose messages are those of `traffic` between each rank and its peer of the round.
template <class PeerOf>
void advance(RoundClock& clock, const Traffic& traffic, Index num_rounds, PeerOf peer_of) {
  std::vector<Pair> messages(at(traffic.num_ranks()));
  for (Index round = 1; round <= num_rounds; ++round) {
    for (Index rank = 0; rank < traffic.num_ranks(); ++rank) {
      const RankId to = peer_of(RankId{rank}, round);
      messages[at(rank)] = {static_cast<std::uint32_t>(rank), static_cast<std::uint32_t>(to.value()),
                            traffic.bytes(RankId{rank}, to)};
    }
    clock.advance(messages);
  }
}

ExchangePrice price_pairwise(const Network& network, const Traffic& traffic, const ExchangeOptions& options) {
  const Index ranks = network.num_ranks();
  check_rounds(network, options, ranks - 1);
  RoundClock clock(network);
  advance(clock, traffic, ranks - 1,
          [&](RankId rank, Index round) { return plan::cyclic_round(ranks, rank, round).to; });
  return {clock.time_s(),
          {{"exchange", clock.time_s()}},
          name_or_nothing(network, clock.busiest_resource()),
          Tier::rounds,
          {},
          0.0};
}

// What ranks give their mates: all that they have for the ranks of a mate's place in any node.
Traffic to_mates(const Traffic& traffic, const plan::EqualNodes& nodes) {
  const Index mates = nodes.node_ranks;
  Traffic result(traffic.num_ranks());
  for (const TrafficTerm& term : traffic.terms()) {
    if (term.block != 0) {
      result.add(term);
      continue;
    }
    std::vector<double> of_place(at(mates), 0.0);
    for (Index rank = 0; rank < traffic.num_ranks(); ++rank) of_place[at(rank % mates)] += term.popularity[at(rank)];
    TrafficTerm gathered{term.sent, {}, mates};
    for (Index rank = 0; rank < traffic.num_ranks(); ++rank) gathered.popularity.push_back(of_place[at(rank % mates)]);
    result.add(std::move(gathered));
  }
  for (const Pair& pair : traffic.pairs()) {
    const auto mate = static_cast<std::uint32_t>(pair.from / mates * mates + pair.to % mates);
    result.add(Pair{pair.from, mate, pair.from == pair.to ? 0.0 : pair.bytes});
  }
  return result;
}

// What ranks of one place have for one another in the second phase: all that their nodes have for the receiver.
Traffic to_partners(const Traffic& traffic, const plan::EqualNodes& nodes) {
  const Index mates = nodes.node_ranks;
  Traffic result(traffic.num_ranks());
  for (const TrafficTerm& term : traffic.terms()) {
    if (term.block != 0) continue;
    std::vector<double> of_node(at(nodes.num_nodes), 0.0);
    for (Index rank = 0; rank < traffic.num_ranks(); ++rank) of_node[at(rank / mates)] += term.sent[at(rank)];
    TrafficTerm gathered{{}, term.popularity};
    for (Index rank = 0; rank < traffic.num_ranks(); ++rank) gathered.sent.push_back(of_node[at(rank / mates)]);
    result.add(std::move(gathered));
  }
  for (const Pair& pair : traffic.pairs()) {
    if (pair.from / mates == pair.to / mates) continue;
    result.add(Pair{static_cast<std::uint32_t>(pair.from / mates * mates + pair.to % mates), pair.to, pair.bytes});
  }
  return result;
}

ExchangePrice price_hierarchical(const Network& network, const Traffic& traffic, const ExchangeOptions& options) {
  const plan::EqualNodes nodes{network.cluster().nodes, network.cluster().ranks_per_node};
  check_rounds(network, options, nodes.node_ranks - 1 + nodes.num_nodes - 1);
  RoundClock clock(network);
  advance(clock, to_mates(traffic, nodes), nodes.node_ranks - 1,
          [&](RankId rank, Index round) { return plan::mate_in_round(nodes, rank, round); });
  const double within_s = clock.time_s();
  advance(clock, to_partners(traffic, nodes), nodes.num_nodes - 1,
          [&](RankId rank, Index round) { return plan::partner_in_round(nodes, rank, round); });
  return {clock.time_s(),
          {{"within nodes", within_s}, {"between nodes", clock.time_s() - within_s}},
          name_or_nothing(network, clock.busiest_resource()),
          Tier::rounds,
          {},
          0.0};
}

}  // namespace

void expect_amount(std::string_view name, double value) {
  if (std::isfinite(value) && value >= 0.0) return;
  throw InputError(fmt::format("{} = {}", name, value), "give a finite number, 0 or more");
}

void describe(ExchangeOptions& o, OptionTable& table) {
  table.add(
      "strategy", o.strategy,
      "flat: everything at once; pairwise: one peer after another; hierarchical: first within nodes, then between "
      "ranks of the same place");
  table.add(
      "tier", o.tier,
      "how exactly: the busiest resource alone, or round by round, or flows that share links; auto: the most exact "
      "that takes seconds");
}

ExchangePrice price_exchange(const Network& network, const Traffic& traffic, const ExchangeOptions& options) {
  switch (options.strategy) {
    case Strategy::flat:
      return price_flat(network, traffic, options.tier);
    case Strategy::pairwise:
      return price_pairwise(network, traffic, options);
    case Strategy::hierarchical:
      return price_hierarchical(network, traffic, options);
  }
  return {};
}

}  // namespace conclave::sim
