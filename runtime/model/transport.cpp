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

Transport::Transport(const TransportOptions& o, const comm::Communicator& communicator)
    : communicator_(communicator), name_(o.exchange), wire_(o.wire) {
  validate(o);
  exchange_ = comm::make_exchange(o.exchange, communicator);
  constexpr Index over_a_network = 4;
  const bool pays = exchange_->topology().num_nodes() > 1 && !exchange_->merges_copies();
  waves_ = o.waves.value_or(pays ? over_a_network : 1);
}

plan::RowTransport Transport::row_transport() const {
  const plan::Topology& topology = exchange_->topology();
  return {.exchange = name_,
          .num_ranks = topology.num_ranks(),
          .node_ranks = std::ssize(topology.ranks(topology.node(communicator_.rank()))),
          .waves = waves_,
          .element_bytes = wire_ == Wire::fp32 ? 4 : 2};
}

}  // namespace conclave::model
