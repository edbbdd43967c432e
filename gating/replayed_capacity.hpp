// SPDX-License-Identifier: BSD-3-Clause
// What other slots would have left of the choices that a run has recorded. The tokens' choices are as they were; what
// the model would have learnt from other drops is not asked.
#pragma once

#include "gating/options.hpp"
#include "gating/routing_trace.hpp"

namespace conclave::gating {

/// How a class's claims for an expert lie in its groups, of which a trace knows only the sum: evenly, so that fewest
/// are dropped, or packed into as few groups as have tokens for them, so that most are.
enum class ClaimSpread { even, packed };

/// The step with what experts of so many slots would keep: of each group, or, of scope step, of all groups. Without
/// re-routing. A class of one group, and scope step, leave nothing open: both spreads are the same then (of scope step,
/// classes are served in their order). InvariantError for no slot.
[[nodiscard]] RoutingStep with_slots(const RoutingSizes& sizes, const RoutingStep& step, Index slots,
                                     CapacityScope scope, ClaimSpread spread);

/// Choices without a slot, over all layers.
[[nodiscard]] Index dropped(const RoutingStep& step);

}  // namespace conclave::gating
