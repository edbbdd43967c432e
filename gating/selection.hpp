// SPDX-License-Identifier: BSD-3-Clause
// Which experts a token wants.
#pragma once

#include "runtime/core/matrix.hpp"

namespace conclave::gating {

/// Node-limited routing (DeepSeek-V3): experts in `count` equal blocks, of which a token may choose from the `kept`
/// best. A block's score is the sum of its two largest scores (its only one, if it has one expert).
struct Blocks {
  Index count = 1;
  Index kept = 1;
};

/// choices[t] = the k = choices.cols experts of the kept blocks with the largest score[t,e], best first. Ties: the
/// lower block, the lower expert. O(E k) a token.
template <class T>
void select_top_k(ConstMatrixView<T> score, Blocks blocks, MatrixView<std::int32_t> choices);

}  // namespace conclave::gating
