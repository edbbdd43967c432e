// SPDX-License-Identifier: BSD-3-Clause
// What follows a step's passes: gradients summed, parameters updated and shared out.
#pragma once

#include "runtime/sim/step_sum.hpp"

namespace conclave::sim {

/// What a block takes backward, of the slowest rank on average, while its links are idle.
struct BlockBackward {
  double attention_s = 0.0;
  double other_s = 0.0;
};

/// Bytes of a pass' gradients that each resource carries.
[[nodiscard]] Loads gradient_loads(const Network& network, const plan::ReducePlan& plan);

/// Adds the reduction of gradients, of which backward hides what it can; the optimizer; updated parameters that are
/// gathered; what hosts of replicated experts send one another; and the step's small messages.
/// plan: the gradients'; placements: one, or one for each case of loads.
void add_update(const TrainingCase& training, const RankSpeed& speed, const plan::ReducePlan& plan,
                std::span<const experts::Placement> placements, const BlockBackward& backward, StepSum& sum,
                StepLog* log);

}  // namespace conclave::sim
