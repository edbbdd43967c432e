// SPDX-License-Identifier: BSD-3-Clause
// Who gets a slot, and what happens to who does not.
#pragma once

#include "gating/options.hpp"
#include "runtime/core/matrix.hpp"

namespace conclave::gating {

/// An expert's slots among S = num_tokens tokens (a group's, or a step's), as systems compute them from the capacity
/// factor cf and the choices k of a token (the mean number of active experts where that varies):
///   standard    ceil(((cf k) S) / E)
///   mesh        int(S cf / E), without k              Mesh-TensorFlow, transformer/moe.py
///   lingvo      int(S cf / E), 0 becomes 4, rounded up to a multiple of 4       Lingvo, core/gshard_layers.py
///   flaxformer  round(S cf / E), halves to even       flaxformer, architectures/moe/moe_layers.py
///   deepspeed   ceil(((S / E) cf) k)                  DeepSpeed, moe/sharded_moe.py
///   tutel       k int(cf ceil(S / E))                 Tutel, impls/fast_dispatch.py
///   fastmoe     int(ceil(cf S) k / E)                 FastMoE, gates/gshard_gate.py
///   megatron    ceil(((S k) / E) cf)                  Megatron-Core, moe_utils.py
///   megablocks  int(((cf k) S) / E), 0 is no limit    MegaBlocks, layers/moe.py, on one rank
/// then at least min_capacity and at most S: more than S claims no expert can get. cf = 0: S, no limit.
[[nodiscard]] Index expert_capacity(CapacityFormula formula, double capacity_factor, double choices, Index num_tokens,
                                    Index num_experts, Index min_capacity);

/// What tokens ask for: n tokens, of a group or of a step, and up to k choices each.
template <class T>
struct Claims {
  ConstMatrixView<std::int32_t> choices;  // [n, k] experts, best first; no_expert where a token has fewer
  ConstMatrixView<T> key;                 // [n, k] the larger goes first; or no rows, for Priority::position
  ConstMatrixView<T> score;               // [n, E] selection scores, for Overflow::reroute
  ConstMatrixView<char> refused;          // [n, k] 1: makes no claim and is not re-routed; or no rows: none is refused
};

struct CapacityRule {
  Index num_experts = 0;
  Index capacity = 0;  // slots of each expert
  Priority priority = Priority::position;
  Overflow overflow = Overflow::drop;
};

/// No expert: of a choice that a token does not have, or that nobody serves.
inline constexpr std::int32_t no_expert = -1;

/// serving[t,j] = the expert that serves choice j of token t, or no_expert. Claims are served in the order of the
/// rule's priority:
///   position      all choices 0 in the order of tokens, then all choices 1, ...
///   probability   by key, the claim's score, over all choices
///   best_token    all choices 0, then all choices 1, ...; of each by key, the best score of the claim's token
///                 (batch-prioritised routing, Riquelme et al. 2021)
///   random        by key, a draw
/// with equal keys in the order of position. Under reroute the dropped are taken again in the same order, each by the
/// free expert with the largest score that the token neither chose nor was re-routed to (ties: the lower expert),
/// whatever its block. O(n k): an expert that is asked too often selects, and does not sort.
template <class T>
void serve_claims(const Claims<T>& claims, const CapacityRule& rule, MatrixView<std::int32_t> serving);

}  // namespace conclave::gating
