// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/workload.hpp"

#include "runtime/core/error.hpp"

namespace conclave::sim {

double Workload::parameters() const {
  double of_layer = 0.0;
  for (const FeedForwardSizes& expert : moe.experts) of_layer += static_cast<double>(expert.parameters);
  return static_cast<double>(replicated_parameters) + static_cast<double>(moe_blocks) * of_layer;
}

double Workload::checkpoint_bytes() const { return element_bytes * static_cast<double>(1 + states) * parameters(); }

void check(const Workload& w) {
  invariant(w.passes >= 1 && w.groups >= 1 && w.groups % w.passes == 0, "{} groups in {} passes", w.groups, w.passes);
  invariant(w.group_tokens >= 1 && w.context >= 1 && w.group_tokens % w.context == 0,
            "groups of {} tokens in sequences of {}", w.group_tokens, w.context);
  invariant(w.width >= 1 && w.heads >= 1 && w.vocabulary >= 1, "width {}, {} heads, {} words", w.width, w.heads,
            w.vocabulary);
  invariant(w.dense_blocks >= 0 && w.moe_blocks >= 0, "{} dense blocks and {} MoE blocks", w.dense_blocks,
            w.moe_blocks);
  invariant(w.moe_blocks == 0 || (w.moe.num_experts() > 0 && w.moe.choices > 0.0 && w.moe.competing > 0),
            "MoE blocks of {} experts, {} choices, {} competing tokens", w.moe.num_experts(), w.moe.choices,
            w.moe.competing);
  invariant(w.replicated_parameters >= 0 && w.states >= 0 && w.threads >= 1,
            "{} replicated parameters, {} states, {} threads", w.replicated_parameters, w.states, w.threads);
  Index reduced = w.reduced_runs.empty() ? w.replicated_parameters : 0;
  for (const ReducedRun& run : w.reduced_runs) {
    const double after = static_cast<double>(run.blocks_after) + run.attention_after;
    invariant(run.elements >= 0 && run.blocks_after >= 0 && run.attention_after >= 0.0 &&
                  after <= static_cast<double>(w.blocks()),
              "a run of {} parameters before {} of {} blocks and {} of attention", run.elements, run.blocks_after,
              w.blocks(), run.attention_after);
    reduced += run.elements;
  }
  invariant(reduced == w.replicated_parameters, "{} of {} replicated parameters are reduced", reduced,
            w.replicated_parameters);
  invariant(w.transport.waves >= 1 && w.transport.wire_bytes > 0.0, "{} waves of {} bytes an element",
            w.transport.waves, w.transport.wire_bytes);
}

}  // namespace conclave::sim
