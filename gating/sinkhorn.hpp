// SPDX-License-Identifier: BSD-3-Clause
// Balanced assignment scores (BASE layers, Lewis et al. 2021; Megatron-Core's sinkhorn routing; Cuturi 2013).
#pragma once

#include "runtime/core/matrix.hpp"

namespace conclave::gating {

/// q = d0 c d1 with c = exp(z) over the group's S x E logits, from d0 = d1 = 1 by `iterations` rounds of
///   d0_t = (1/S) / sum_e c_te d1_e,   d1_e = (1/E) / sum_t c_te d0_t,
/// so that every expert's column of q has the same sum. In float64, sums in order. O(iterations S E).
template <class T>
void sinkhorn(ConstMatrixView<T> logits, Index iterations, MatrixView<T> q);

}  // namespace conclave::gating
