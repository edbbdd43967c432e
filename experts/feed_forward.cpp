// SPDX-License-Identifier: BSD-3-Clause
#include "experts/feed_forward.hpp"

#include "runtime/core/gemm.hpp"
#include "runtime/core/vector_kernels.hpp"

#include <cmath>

namespace conclave::experts {
namespace {

// Rows of several views may be strided, so kernels go row by row.
template <class T, class Kernel>
void for_each_row(Index rows, const Kernel& kernel) {
  for (Index i = 0; i < rows; ++i) kernel(i);
}

template <class T>
void activate(ExpertKind kind, const FeedForwardTape<T>& tape) {
  for_each_row<T>(tape.pre.rows, [&](Index i) {
    const std::span<const T> pre = tape.pre.row(i);
    const std::span<T> hidden = tape.hidden.row(i);
    if (kind == ExpertKind::relu) relu<T>(pre, hidden);
    if (kind == ExpertKind::gelu) gelu<T>(pre, hidden);
    if (kind == ExpertKind::swiglu) swiglu<T>(pre, tape.gate.row(i), hidden);
  });
}

// d_pre holds the gradient of `hidden` on entry, that of `pre` on return.
template <class T>
void activate_backward(ExpertKind kind, const FeedForwardTape<T>& tape, MatrixView<T> d_pre, MatrixView<T> d_gate) {
  for_each_row<T>(tape.pre.rows, [&](Index i) {
    const std::span<const T> pre = tape.pre.row(i);
    const std::span<T> d = d_pre.row(i);
    if (kind == ExpertKind::relu) relu_backward<T>(pre, d, d);
    if (kind == ExpertKind::gelu) gelu_backward<T>(pre, d, d);
    if (kind == ExpertKind::swiglu) swiglu_backward<T>(pre, tape.gate.row(i), d, d, d_gate.row(i));
  });
}

template <class T>
void weight_gradient(ConstMatrixView<T> dy, ConstMatrixView<T> x, bool accumulate, MatrixView<T> gradient) {
  gemm_tn<T>(dy, x, accumulate ? T{1} : T{0}, gradient);
}

template <class T>
void bias_gradient(ConstMatrixView<T> dy, bool accumulate, std::span<T> gradient) {
  if (!accumulate) std::fill(gradient.begin(), gradient.end(), T{0});
  add_column_sums<T>(dy, gradient);
}

}  // namespace

template <class T>
FeedForward<T>::FeedForward(ParameterList& parameters, const std::string& prefix, const ExpertShape& shape,
                            double output_scale)
    : shape_(shape) {
  invariant(shape.width > 0 && (shape.kind == ExpertKind::linear || shape.hidden > 0),
            "an expert of width {} and hidden width {}", shape.width, shape.hidden);
  const bool is_linear = shape.kind == ExpertKind::linear;
  const Index inner = is_linear ? shape.width : shape.hidden;
  const Initial into{.deviation = 1.0 / std::sqrt(static_cast<double>(shape.width))};
  const Initial out_of{.deviation = output_scale / std::sqrt(static_cast<double>(inner))};
  parameters_.begin = parameters.size();
  w1_ = parameters.add_matrix(prefix + "w1", inner, shape.width, is_linear ? out_of : into);
  if (shape.bias) b1_ = parameters.add_vector(prefix + "b1", inner, {});
  if (has_gate()) {
    w3_ = parameters.add_matrix(prefix + "w3", inner, shape.width, into);
    if (shape.bias) b3_ = parameters.add_vector(prefix + "b3", inner, {});
  }
  if (!is_linear) {
    w2_ = parameters.add_matrix(prefix + "w2", shape.width, inner, out_of);
    if (shape.bias) b2_ = parameters.add_vector(prefix + "b2", shape.width, {});
  }
  parameters_.end = parameters.size();
}

template <class T>
Index FeedForward<T>::flops_per_row() const {
  return 2 * (w1_.size() + w3_.size() + w2_.size());
}

template <class T>
void FeedForward<T>::forward(ParameterView<const T> values, ConstMatrixView<T> x, const FeedForwardTape<T>& tape,
                             MatrixView<T> y) const {
  const bool is_linear = shape_.kind == ExpertKind::linear;
  const MatrixView<T> pre = is_linear ? y : tape.pre;
  gemm_nt<T>(x, values.matrix(w1_), T{0}, pre);
  if (shape_.bias) add_bias<T>(values.vector(b1_), pre);
  if (is_linear) return;
  if (has_gate()) {
    gemm_nt<T>(x, values.matrix(w3_), T{0}, tape.gate);
    if (shape_.bias) add_bias<T>(values.vector(b3_), tape.gate);
  }
  activate(shape_.kind, tape);
  gemm_nt<T>(tape.hidden, values.matrix(w2_), T{0}, y);
  if (shape_.bias) add_bias<T>(values.vector(b2_), y);
}

template <class T>
void FeedForward<T>::backward_input(ParameterView<const T> values, const FeedForwardTape<T>& tape,
                                    ConstMatrixView<T> dy, MatrixView<T> d_pre, MatrixView<T> d_gate, T beta,
                                    MatrixView<T> dx) const {
  if (shape_.kind == ExpertKind::linear) {
    gemm_nn<T>(dy, values.matrix(w1_), beta, dx);
    return;
  }
  gemm_nn<T>(dy, values.matrix(w2_), T{0}, d_pre);
  activate_backward(shape_.kind, tape, d_pre, d_gate);
  gemm_nn<T>(d_pre, values.matrix(w1_), beta, dx);
  if (has_gate()) gemm_nn<T>(d_gate, values.matrix(w3_), T{1}, dx);
}

template <class T>
void FeedForward<T>::backward_weights(ConstMatrixView<T> x, const FeedForwardTape<T>& tape, ConstMatrixView<T> dy,
                                      ConstMatrixView<T> d_pre, ConstMatrixView<T> d_gate, bool accumulate,
                                      ParameterView<T> gradient) const {
  const bool is_linear = shape_.kind == ExpertKind::linear;
  const ConstMatrixView<T> d1 = is_linear ? dy : d_pre;
  weight_gradient<T>(d1, x, accumulate, gradient.matrix(w1_));
  if (shape_.bias) bias_gradient<T>(d1, accumulate, gradient.vector(b1_));
  if (is_linear) return;
  if (has_gate()) {
    weight_gradient<T>(d_gate, x, accumulate, gradient.matrix(w3_));
    if (shape_.bias) bias_gradient<T>(d_gate, accumulate, gradient.vector(b3_));
  }
  weight_gradient<T>(dy, tape.hidden, accumulate, gradient.matrix(w2_));
  if (shape_.bias) bias_gradient<T>(dy, accumulate, gradient.vector(b2_));
}

template class FeedForward<float>;
template class FeedForward<double>;

}  // namespace conclave::experts
