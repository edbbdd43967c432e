// SPDX-License-Identifier: BSD-3-Clause
// What a training run will keep in memory, before any of it is there.
#pragma once

#include "comm/plan/memory_need.hpp"
#include "comm/plan/reduce_plan.hpp"
#include "runtime/model/model.hpp"

namespace conclave::model {

/// What the need depends on beside the model.
struct RunSizes {
  plan::RowTransport transport{};
  Index groups_in_pass = 1;
  Index group_rows = 0;          // tokens
  Index num_states = 2;          // arrays of optimizer state
  Index threads = 1;             // of a rank
  bool checkpoint_copy = false;  // parameters and states are copied to be written while the run goes on
  Index replicas = 0;            // of experts, over all ranks, in each layer
};

/// The parameters that every rank has whole, as a model lists them, and where each block's begin.
struct ReplicatedLayout {
  struct Block {
    Index begin = 0;
    Index attention_out = 0;  // behind what attention's heads are made by
    Index feed_forward = 0;   // behind attention
  };
  ParameterList list;
  std::vector<Block> blocks;
  Index end_of_blocks = 0;  // where the head's begin
};

/// Without making the model. Options must be valid.
[[nodiscard]] ReplicatedLayout replicated_layout(const ModelOptions& options, const DataShape& shape);

/// The number of parameters that every rank has whole.
[[nodiscard]] Index replicated_elements(const ModelOptions& options, const DataShape& shape);

/// Elements that a rank keeps of its partial sums of a gradient: one array for each of its pieces, and sums in the
/// making, of up to `largest_range` parameters each.
[[nodiscard]] double gradient_sums(const plan::ReducePlan& plan, RankId rank, Index largest_range, Index threads);

/// Sizes of an MoE layer with these experts on a rank with `tokens` tokens and the experts `mine`, to which `rows_here`
/// rows come.
[[nodiscard]] plan::MoeLayerSizes moe_layer_sizes(const gating::RouterOptions& router,
                                                  const std::vector<experts::ExpertShape>& experts, Index width,
                                                  Index tokens, double rows_here, const std::vector<ExpertId>& mine,
                                                  const plan::RowTransport& transport);

/// The number of parameters that a layer's experts share, which every rank has whole.
[[nodiscard]] Index base_elements(const std::vector<experts::ExpertShape>& experts);

/// Bytes that rank `rank` needs beside the program itself. Options must be valid.
[[nodiscard]] std::vector<plan::MemoryItem> memory_need(const ModelOptions& options, const DataShape& shape,
                                                        const RunSizes& run, RankId rank);
/// The same of several ranks, planned once for all.
[[nodiscard]] std::vector<std::vector<plan::MemoryItem>> memory_needs(const ModelOptions& options,
                                                                      const DataShape& shape, const RunSizes& run,
                                                                      std::span<const RankId> ranks);

}  // namespace conclave::model
