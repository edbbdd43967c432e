// SPDX-License-Identifier: BSD-3-Clause
// How much memory a rank needs, by formula: told before a run starts, and what a simulator says of ranks that no
// machine has yet.
#pragma once

#include "runtime/core/ids.hpp"

#include <string_view>
#include <vector>

namespace conclave::plan {

/// Memory of a rank for one purpose.
struct MemoryItem {
  std::string_view what;
  double bytes = 0.0;
};

[[nodiscard]] double total_bytes(const std::vector<MemoryItem>& items);

/// How rows travel, as far as memory knows it.
struct RowTransport {
  std::string_view exchange = "flat";  // a strategy's name; "auto": whichever of the others needs most
  Index num_ranks = 1;
  Index node_ranks = 1;     // of the node, this one included
  Index waves = 1;          // of a rank's experts
  Index element_bytes = 4;  // of a number on its way
};

/// Rows of one exchange on one rank, those that it has for itself among both.
struct ExchangedRows {
  double sent = 0.0;
  double received = 0.0;
  bool in_place = true;  // what comes from a peer stands together: it is received where it belongs
};

/// Rows that an inbox keeps on a rank on average, ranks having as many for each other: those that arrived, and what the
/// strategy gathers before they leave, receives behind them, or passes on. In memory that a node's ranks share, a rank
/// counts its own part. InvariantError for a strategy without a formula.
[[nodiscard]] double rows_kept(const RowTransport& transport, const ExchangedRows& rows);

/// One rank's part of an MoE layer. Elements are float32.
struct MoeLayerSizes {
  RowTransport transport{};
  Index tokens = 0;  // of this rank
  Index width = 0;
  Index num_experts = 0;      // of the layer
  double rows_sent = 0.0;     // kept choices of these tokens
  double rows_here = 0.0;     // rows that come to this rank's experts
  Index experts_here = 0;     // of this rank
  Index expert_elements = 0;  // their parameters
  double tape_columns = 0.0;  // activations and their gradients that a row leaves at its expert: 3 hidden, swiglu 5
};

/// Experts' weights and gradients, rows on their way and as they arrived (4 exchanges), activations at the experts, and
/// the routing. Without optimizer state and what the experts share.
[[nodiscard]] std::vector<MemoryItem> moe_layer_memory(const MoeLayerSizes& sizes);

/// What libraries keep for themselves: packed matrices of each thread's products, messages' buffers where rows travel
/// as messages. Measured (oneDNN 2.6, Open MPI 4.1), not derived.
[[nodiscard]] MemoryItem library_memory(const RowTransport& transport, Index threads);

}  // namespace conclave::plan
