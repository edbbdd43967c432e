// SPDX-License-Identifier: BSD-3-Clause
#include "comm/plan/memory_need.hpp"

#include "runtime/core/error.hpp"

#include <algorithm>
#include <array>
#include <bit>

namespace conclave::plan {
namespace {

constexpr double element_bytes = 4.0;

double share_of_others(const RowTransport& t) {
  return static_cast<double>(t.num_ranks - 1) / static_cast<double>(t.num_ranks);
}
double share_of_other_nodes(const RowTransport& t) {
  return static_cast<double>(t.num_ranks - t.node_ranks) / static_cast<double>(t.num_ranks);
}

// Messages with `share` of the rows: gathered for each receiver; behind the inbox where they do not come in place.
double messages(double share, const ExchangedRows& rows) {
  return share * (rows.sent + (rows.in_place ? 0.0 : rows.received));
}

double kept_by_flat(const RowTransport& t, const ExchangedRows& rows) { return messages(share_of_others(t), rows); }

// Beside the gathered rows the messages of all rounds: a row travels once for each bit of how far it has to go.
double kept_by_bruck(const RowTransport& t, const ExchangedRows& rows) {
  double hops = 0.0;  // of a row, on average
  for (Index far = 1; far < t.num_ranks; ++far) hops += std::popcount(static_cast<std::uint64_t>(far));
  hops /= static_cast<double>(t.num_ranks);
  return share_of_others(t) * rows.sent + hops * (rows.sent + rows.received);
}

double kept_by_shared(const RowTransport& t, const ExchangedRows& rows) {
  return messages(share_of_other_nodes(t), rows);
}

// A node's bundles, whose ranks take turns in carrying them; no row is known to be a copy of another.
double kept_by_hierarchical(const RowTransport& t, const ExchangedRows& rows) {
  return share_of_other_nodes(t) * (rows.sent + rows.received);
}

struct KeptBy {
  std::string_view exchange;
  double (*beside_what_arrived)(const RowTransport&, const ExchangedRows&);
};
constexpr std::array<KeptBy, 5> formulas{{{"flat", kept_by_flat},
                                          {"pairwise", kept_by_flat},
                                          {"bruck", kept_by_bruck},
                                          {"shared", kept_by_shared},
                                          {"hierarchical", kept_by_hierarchical}}};

}  // namespace

// What `auto` tries in turn is there one at a time; bruck it tries where little travels.
double rows_kept(const RowTransport& transport, const ExchangedRows& rows) {
  double most = -1.0;
  for (const KeptBy& formula : formulas) {
    const bool is_tried = transport.exchange == "auto" && formula.exchange != "bruck";
    if (is_tried || formula.exchange == transport.exchange) {
      most = std::max(most, formula.beside_what_arrived(transport, rows));
    }
  }
  invariant(most >= 0.0, "no formula for the memory of exchange '{}'", transport.exchange);
  return rows.received + most;
}

double total_bytes(const std::vector<MemoryItem>& items) {
  double sum = 0.0;
  for (const MemoryItem& item : items) sum += item.bytes;
  return sum;
}

std::vector<MemoryItem> moe_layer_memory(const MoeLayerSizes& s) {
  const auto width = static_cast<double>(s.width);
  const auto tokens = static_cast<double>(s.tokens);
  // Rows stand by expert, then by source: those of a rank together where a wave is of one expert. On their way back all
  // do. Each way is taken in forward and in backward.
  const bool in_place = s.experts_here <= s.transport.waves;
  const double kept = 2.0 * (rows_kept(s.transport, {s.rows_sent, s.rows_here, in_place}) +
                             rows_kept(s.transport, {s.rows_here, s.rows_sent, true}));
  const auto wire_bytes = static_cast<double>(s.transport.element_bytes);
  const double converted = wire_bytes < element_bytes ? 4.0 * (s.rows_sent + s.rows_here) : 0.0;
  // Scores, their softmax and the gradients of both; a gate, a row and a place for each kept choice.
  const double routing = 4.0 * tokens * static_cast<double>(s.num_experts) + 16.0 * s.rows_sent;
  return {{"experts' weights and gradients", 2.0 * element_bytes * static_cast<double>(s.expert_elements)},
          {"rows between ranks", width * (wire_bytes * kept + element_bytes * converted)},
          {"experts' activations", element_bytes * s.rows_here * s.tape_columns},
          {"routing", element_bytes * routing}};
}

MemoryItem library_memory(const RowTransport& transport, Index threads) {
  constexpr double of_a_thread = 16.0 * 1024.0 * 1024.0;
  const bool are_messages = rows_kept(transport, {.sent = 1.0, .received = 1.0}) > 1.0;
  constexpr double of_messages = 16.0 * 1024.0 * 1024.0;
  return {"libraries' own", of_a_thread * static_cast<double>(threads) + (are_messages ? of_messages : 0.0)};
}

}  // namespace conclave::plan
