// SPDX-License-Identifier: BSD-3-Clause
#include "comm/plan/memory_need.hpp"

namespace conclave::plan {
namespace {

constexpr double element_bytes = 4.0;

}  // namespace

double total_bytes(const std::vector<MemoryItem>& items) {
  double sum = 0.0;
  for (const MemoryItem& item : items) sum += item.bytes;
  return sum;
}

std::vector<MemoryItem> moe_layer_memory(const MoeLayerSizes& s) {
  const auto width = static_cast<double>(s.width);
  const auto tokens = static_cast<double>(s.tokens);
  const double others = static_cast<double>(s.num_ranks - 1) / static_cast<double>(s.num_ranks);
  // Each of the two ways is taken in forward and in backward.
  const double arrived = 2.0 * (s.rows_here + s.rows_sent) * width;
  const double staged = others * arrived;
  // Scores, their softmax and the gradients of both; a gate, a row and a place for each kept choice.
  const double routing = 4.0 * tokens * static_cast<double>(s.num_experts) + 16.0 * s.rows_sent;
  return {{"experts' weights and gradients", 2.0 * element_bytes * static_cast<double>(s.expert_elements)},
          {"rows between ranks", element_bytes * (arrived + staged)},
          {"experts' activations", element_bytes * s.rows_here * s.tape_columns},
          {"routing", element_bytes * routing}};
}

MemoryItem library_memory(Index num_ranks, Index threads) {
  constexpr double of_a_thread = 16.0 * 1024.0 * 1024.0;
  constexpr double of_messages = 16.0 * 1024.0 * 1024.0;
  return {"libraries' own", of_a_thread * static_cast<double>(threads) + (num_ranks > 1 ? of_messages : 0.0)};
}

}  // namespace conclave::plan
