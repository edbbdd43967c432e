// SPDX-License-Identifier: BSD-3-Clause
// What a rank does in each phase of a training step, by formula: operations, bytes through memory, calls. The formulas
// follow runtime/model and runtime/train; who has which groups, experts and slices is read off core's and comm/plan's
// own tables. Flops are those of matrix products, once each (6 an element of a matrix and row: forward and both
// gradients, as apps/train_case.hpp counts them): what is computed twice is in the rates. Bytes count every operand of
// a call once, as if no call found anything in a cache.
#pragma once

#include "comm/plan/reduce_plan.hpp"
#include "runtime/core/expert_map.hpp"
#include "runtime/core/trace.hpp"
#include "runtime/sim/work.hpp"
#include "runtime/sim/workload.hpp"

#include <array>
#include <span>

namespace conclave::sim {

using PhaseWork = std::array<Work, num_phases>;

[[nodiscard]] inline Work& of(PhaseWork& work, Phase phase) { return work[static_cast<std::size_t>(phase)]; }
[[nodiscard]] inline const Work& of(const PhaseWork& work, Phase phase) {
  return work[static_cast<std::size_t>(phase)];
}
PhaseWork& operator+=(PhaseWork& a, const PhaseWork& b);
/// The same, `times` times.
[[nodiscard]] PhaseWork scaled(PhaseWork work, double times);

// --- The parts, for one rank ---

/// One pass of what every group goes through by itself: data, embedding, attention, dense layers, norms, shared
/// experts, head.
[[nodiscard]] PhaseWork group_work(const Workload& workload, Index groups);
/// Of it what belongs to no block: data, embedding, head, other.
[[nodiscard]] PhaseWork outside_work(const Workload& workload, Index groups);
/// Of it one block: attention, norms, and its dense layer or the shared experts beside its others.
[[nodiscard]] PhaseWork block_work(const Workload& workload, Index groups, bool has_experts);

/// Forward, and forward and backward, of one MoE layer but for its experts: gate, dispatch and combine, for `groups`
/// groups whose tokens have so many kept choices in all.
[[nodiscard]] PhaseWork routing_work(const Workload& workload, Index groups, double rows_sent);

/// Forward and backward of one expert on so many rows: affine in them.
[[nodiscard]] Work expert_work(const FeedForwardSizes& expert, double rows);
/// The same for no row, and what each row adds.
struct ExpertWork {
  Work always;
  Work of_row;
};
[[nodiscard]] ExpertWork expert_work(const FeedForwardSizes& expert);

/// Of one pass, its partial sums handed in and the sums of the rank's slice finished.
[[nodiscard]] Work reduce_work(const Workload& workload, const plan::ReducePlan& plan, RankId rank);
/// Of one step: norm and update of so many parameters that the rank owns.
[[nodiscard]] Work update_work(const Workload& workload, double owned_parameters);

// --- The whole ---

/// Memory that a rank goes through in a step, on average over ranks [bytes]: its experts and replicated parameters with
/// their gradients and optimizer state, and what a pass keeps of its tokens for backward, with the gradients of that.
[[nodiscard]] double step_footprint(const Workload& workload, Index num_ranks);

/// A step of rank `rank`, experts being placed by `map`, where rows_per_layer[l][e] rows come to expert e of MoE layer
/// l over the whole step. A rank's tokens have their share, by groups, of all rows. InvariantError for other numbers of
/// layers or experts than the workload's.
[[nodiscard]] PhaseWork step_work(const Workload& workload, const ExpertMap& map, RankId rank,
                                  std::span<const std::vector<double>> rows_per_layer);

/// The reduction of the workload's replicated parameters in a pass.
[[nodiscard]] plan::ReducePlan reduce_plan(const Workload& workload, Index num_ranks);

/// Floating-point operations of all phases.
[[nodiscard]] double flops(const PhaseWork& work);

}  // namespace conclave::sim
