// SPDX-License-Identifier: BSD-3-Clause
// What an exchange of rows costs by the runtime's own strategies, which comm/plan schedules: all messages one by one
// where there are few ranks, else what the busiest resource and the number of rounds say.
#pragma once

#include "runtime/sim/exchange_model.hpp"
#include "runtime/sim/machine.hpp"

#include <string>
#include <vector>

namespace conclave::sim {

/// Up to so many ranks the schedules of comm/plan are priced message by message.
inline constexpr Index most_scheduled_ranks = 64;

/// Rows that are exchanged at once.
struct RowExchange {
  const Traffic& bytes;
  double row_bytes = 1.0;
  double distinct = 1.0;  // share of the rows from a rank to another node that are no copies of one another
  Index scheduled_up_to = most_scheduled_ranks;  // ranks; 0: always by the busiest resource and the number of rounds
};

/// How a strategy's rows come to a rank. direct: each other rank's by themselves; bundled: each crosses the network
/// once, with those for other ranks of its node; passed_on: by way of other nodes, so that links are filled more
/// evenly, whoever has rows.
enum class Way { direct, bundled, passed_on };

struct RowExchangePrice {
  double time_s = 0.0;       // until the last rank has its rows
  double busy_s = 0.0;       // by how much longer a rank computes that computes meanwhile; at most time_s
  std::string exchange{};    // the strategy; of `auto` the fastest
  std::string bottleneck{};  // the resource that limits, or what ranks do themselves; empty: nothing is sent
  Way way = Way::direct;
};

/// Strategies of the runtime that have a price, by their names; `auto` is the cheapest of those that the runtime tries.
[[nodiscard]] std::vector<std::string> priced_exchanges();

/// The exchange on a network. With a machine, messages within nodes take what was measured there, each message costs
/// its ranks their posting, and rows that ranks of a node write into each other's memory (shared, hierarchical) cost
/// one synchronisation: the writing is part of what gathers them; between nodes all takes its factor of what the
/// machine measured over this price, rows that are sent straight the less the fewer links are as busy as the busiest.
/// Without, all bytes within a node cross its bus. InputError for a strategy without a price.
[[nodiscard]] RowExchangePrice price_rows(const Network& network, const Machine* machine, const std::string& exchange,
                                          const RowExchange& rows);

}  // namespace conclave::sim
