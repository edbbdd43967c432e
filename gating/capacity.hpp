// SPDX-License-Identifier: BSD-3-Clause
// Who gets a slot, and what happens to who does not.
#pragma once

#include "gating/options.hpp"
#include "runtime/core/matrix.hpp"

#include <vector>

namespace conclave::gating {

/// C = min(S, max(min_capacity, ceil(((cf k) S) / E))): an expert's slots in a group of S tokens. cf = 0: S, no limit.
/// `choices` is k, or the mean number of active experts where that varies.
[[nodiscard]] Index expert_capacity(double capacity_factor, double choices, Index num_tokens, Index num_experts,
                                    Index min_capacity);

/// The claims of a group. S tokens, k choices.
template <class T>
struct Claims {
  ConstMatrixView<std::int32_t> choices;  // [S, k] experts, best first
  ConstMatrixView<T> raw_gate;            // [S, k] scores of the chosen, for Priority::probability
  ConstMatrixView<T> score;               // [S, E] selection scores, for Overflow::reroute
  ConstMatrixView<char> refused;          // [S, k] 1: makes no claim and is not re-routed; or no rows: none is refused
};

struct CapacityRule {
  Index capacity = 0;  // slots of each expert
  Priority priority = Priority::position;
  Overflow overflow = Overflow::drop;
};

/// serving[t,j] = the expert that serves choice j of token t, or not_served. Claims are served in the order of the
/// rule's priority; under reroute the dropped are taken again in the same order, each by the free expert with the
/// largest score that the token neither chose nor was re-routed to (ties: the lower expert), whatever its block.
inline constexpr std::int32_t not_served = -1;
template <class T>
void serve_claims(const Claims<T>& claims, const CapacityRule& rule, MatrixView<std::int32_t> serving);

}  // namespace conclave::gating
