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

/// One rank's part of an MoE layer. Elements are float32.
struct MoeLayerSizes {
  Index num_ranks = 1;
  Index tokens = 0;  // of this rank
  Index width = 0;
  Index num_experts = 0;      // of the layer
  double rows_sent = 0.0;     // kept choices of these tokens
  double rows_here = 0.0;     // rows that come to this rank's experts
  Index expert_elements = 0;  // parameters of this rank's experts
  double tape_columns = 0.0;  // activations and their gradients that a row leaves at its expert: 3 hidden, swiglu 5
};

/// Experts' weights and gradients, rows on their way and as they arrived (4 exchanges; on several ranks what leaves for
/// others is staged beside it), activations at the experts, and the routing. Without optimizer state.
[[nodiscard]] std::vector<MemoryItem> moe_layer_memory(const MoeLayerSizes& sizes);

/// What libraries keep for themselves: packed matrices of each thread's products, messages' buffers where there are
/// several ranks. Measured (oneDNN 2.6, Open MPI 4.1), not derived.
[[nodiscard]] MemoryItem library_memory(Index num_ranks, Index threads);

}  // namespace conclave::plan
