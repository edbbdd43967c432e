// SPDX-License-Identifier: BSD-3-Clause
// One weight matrix of an expert: its own, or one that all experts of the layer share and the expert's own change of
// it.
//
//   W = W_base + A B,   A [out, rank], B [rank, in]
//
// The change is of low rank (Hu et al. 2021, LoRA). W is never formed: x W^T = x W_base^T + (x B^T) A^T, which for
// n rows takes 2 n (out in + rank (out + in)) flops.
#pragma once

#include "runtime/core/parameters.hpp"

namespace conclave::experts {

/// The places of a weight's parts.
struct Weight {
  Tensor whole{};  // [out, in]: in the expert's own array, or, where there is a delta, in that of the base
  Tensor a{};      // [out, rank], in the expert's own array; empty where the matrix is all its own
  Tensor b{};      // [rank, in], likewise
  [[nodiscard]] bool has_delta() const { return a.size() > 0; }
  [[nodiscard]] Index rank() const { return a.cols; }
};

/// An expert's own values, and those of the base of its layer where it has deltas.
template <class T>
struct ExpertValues {
  ParameterView<const T> own;
  ParameterView<const T> base{};
};

/// y = x W^T for x [n, in], y [n, out]. With a delta, low [n, rank] = x B^T is left for the backward.
template <class T>
void apply_weight(const Weight& weight, const ExpertValues<T>& values, ConstMatrixView<T> x, MatrixView<T> low,
                  MatrixView<T> y);

/// dx = beta dx + dy W. With a delta, d_low [n, rank] = dy A is left for the weight's gradient.
template <class T>
void apply_weight_backward(const Weight& weight, const ExpertValues<T>& values, ConstMatrixView<T> dy,
                           MatrixView<T> d_low, T beta, MatrixView<T> dx);

/// What a weight's gradient is made of: the rows it was applied to and the gradients of the results, each with what the
/// passes left of it for the delta.
template <class T>
struct WeightRows {
  ConstMatrixView<T> x;      // [n, in]
  ConstMatrixView<T> low;    // [n, rank]
  ConstMatrixView<T> dy;     // [n, out]
  ConstMatrixView<T> d_low;  // [n, rank]
};

/// The gradient of the expert's own parts: dW = dy^T x, or dA = dy^T low and dB = d_low^T x; added to (accumulate) or
/// set in the place of what `gradient` holds.
template <class T>
void own_gradient(const Weight& weight, const WeightRows<T>& rows, bool accumulate, ParameterView<T> gradient);

/// This expert's term of the base's gradient: base_gradient += dy^T x.
template <class T>
void add_base_gradient(const Weight& weight, ConstMatrixView<T> x, ConstMatrixView<T> dy,
                       ParameterView<T> base_gradient);

}  // namespace conclave::experts
