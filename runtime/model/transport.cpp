// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/transport.hpp"

namespace conclave::model {

void describe(TransportOptions& o, OptionTable& table) {
  table.add("exchange", o.exchange, "how rows travel between ranks: " + exchange_names());
  table.add(
      "waves", o.waves,
      "parts of a rank's experts that compute while the others' rows travel; auto: 1 on one node and where copies "
      "cross the network once (hierarchical), else 4");
  table.add("wire", o.wire, "numbers that travel to experts and back: as they are, or rounded to bf16, half the bytes");
}

void validate(const TransportOptions& o) {
  if (o.waves && *o.waves < 1) throw InputError(fmt::format("waves = {}", *o.waves), "give at least 1, or auto");
}

std::string exchange_names() {
  std::vector<std::string> names;
  for (const auto& s : comm::exchange_strategies()) names.push_back(fmt::format("{} ({})", s.name, s.help));
  return fmt::format("{}", fmt::join(names, ", "));
}

namespace {

Index waves_of(const TransportOptions& o, const comm::Exchange& exchange, const plan::Topology& topology) {
  constexpr Index over_a_network = 4;
  const bool pays = topology.num_nodes() > 1 && !exchange.merges_copies();
  return o.waves.value_or(pays ? over_a_network : 1);
}

plan::RowTransport row_transport_of(const TransportOptions& o, Index waves, const plan::Topology& topology,
                                    RankId rank) {
  return {.exchange = o.exchange,
          .num_ranks = topology.num_ranks(),
          .node_ranks = std::ssize(topology.ranks(topology.node(rank))),
          .waves = waves,
          .element_bytes = o.wire == Wire::fp32 ? 4 : 2};
}

}  // namespace

plan::RowTransport planned_row_transport(const TransportOptions& o, const comm::Communicator& asking,
                                         const plan::Topology& topology, RankId rank) {
  validate(o);
  const Index waves = waves_of(o, *comm::make_exchange(o.exchange, asking), topology);
  return row_transport_of(o, waves, topology, rank);
}

Transport::Transport(const TransportOptions& o, const comm::Communicator& communicator)
    : communicator_(communicator), options_(o) {
  validate(o);
  exchange_ = comm::make_exchange(o.exchange, communicator);
  waves_ = waves_of(o, *exchange_, exchange_->topology());
}

plan::RowTransport Transport::row_transport() const {
  return row_transport_of(options_, waves_, exchange_->topology(), communicator_.rank());
}

}  // namespace conclave::model
