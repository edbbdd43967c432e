// SPDX-License-Identifier: BSD-3-Clause
#include "experts/feed_forward.hpp"

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
void bias_gradient(ConstMatrixView<T> dy, bool accumulate, std::span<T> gradient) {
  if (!accumulate) std::fill(gradient.begin(), gradient.end(), T{0});
  add_column_sums<T>(dy, gradient);
}

}  // namespace

ParameterList base_parameters(const ExpertShape& shape, const std::string& prefix, double output_scale) {
  ParameterList list;
  static_cast<void>(FeedForward<float>(list, prefix, {shape.kind, shape.width, shape.hidden, false, 0}, output_scale));
  return list;
}

template <class T>
FeedForward<T>::FeedForward(ParameterList& parameters, const std::string& prefix, const ExpertShape& shape,
                            double output_scale)
    : shape_(shape) {
  const bool is_linear = shape.kind == ExpertKind::linear;
  invariant(shape.width > 0 && (is_linear || shape.hidden > 0), "an expert of width {} and hidden width {}",
            shape.width, shape.hidden);
  const Index inner = is_linear ? shape.width : shape.hidden;
  ParameterList base;  // laid out as base_parameters
  const auto add = [&](const std::string& name, Index out, Index in, double scale) -> Weight {
    const Initial by_fan_in{.deviation = scale / std::sqrt(static_cast<double>(in))};
    if (shape.delta_rank == 0) return {parameters.add_matrix(prefix + name, out, in, by_fan_in)};
    return {base.add_matrix(name, out, in, {}), parameters.add_matrix(prefix + name + "_a", out, shape.delta_rank, {}),
            parameters.add_matrix(prefix + name + "_b", shape.delta_rank, in,
                                  {.deviation = 1.0 / std::sqrt(static_cast<double>(in))})};
  };
  parameters_.begin = parameters.size();
  w1_ = add("w1", inner, shape.width, is_linear ? output_scale : 1.0);
  if (shape.bias) b1_ = parameters.add_vector(prefix + "b1", inner, {});
  if (has_gate()) {
    w3_ = add("w3", inner, shape.width, 1.0);
    if (shape.bias) b3_ = parameters.add_vector(prefix + "b3", inner, {});
  }
  if (!is_linear) {
    w2_ = add("w2", shape.width, inner, output_scale);
    if (shape.bias) b2_ = parameters.add_vector(prefix + "b2", shape.width, {});
  }
  parameters_.end = parameters.size();
}

template <class T>
Index FeedForward<T>::flops_per_row() const {
  Index elements = 0;
  for (const Weight& weight : {w1_, w3_, w2_}) elements += weight.whole.size() + weight.a.size() + weight.b.size();
  return 2 * elements;
}

template <class T>
MatrixView<T> FeedForward<T>::low_of(const Weight& weight, const FeedForwardTape<T>& tape) const {
  const Index rank = weight.rank();
  if (tape.low.data == nullptr) return {nullptr, tape.low.rows, rank, rank};  // no deltas, or no rows
  const Index before = &weight == &w1_ ? 0 : w1_.rank() + (&weight == &w3_ ? 0 : w3_.rank());
  return tape.low.col_block(before, rank);
}

template <class T>
void FeedForward<T>::forward(const ExpertValues<T>& values, ConstMatrixView<T> x, const FeedForwardTape<T>& tape,
                             MatrixView<T> y) const {
  const bool is_linear = shape_.kind == ExpertKind::linear;
  const MatrixView<T> pre = is_linear ? y : tape.pre;
  apply_weight<T>(w1_, values, x, low_of(w1_, tape), pre);
  if (shape_.bias) add_bias<T>(values.own.vector(b1_), pre);
  if (is_linear) return;
  if (has_gate()) {
    apply_weight<T>(w3_, values, x, low_of(w3_, tape), tape.gate);
    if (shape_.bias) add_bias<T>(values.own.vector(b3_), tape.gate);
  }
  activate(shape_.kind, tape);
  apply_weight<T>(w2_, values, tape.hidden, low_of(w2_, tape), y);
  if (shape_.bias) add_bias<T>(values.own.vector(b2_), y);
}

template <class T>
void FeedForward<T>::backward_input(const ExpertValues<T>& values, const FeedForwardTape<T>& tape,
                                    ConstMatrixView<T> dy, const FeedForwardTape<T>& d_tape, T beta,
                                    MatrixView<T> dx) const {
  if (shape_.kind == ExpertKind::linear) {
    apply_weight_backward<T>(w1_, values, dy, low_of(w1_, d_tape), beta, dx);
    return;
  }
  apply_weight_backward<T>(w2_, values, dy, low_of(w2_, d_tape), T{0}, d_tape.pre);
  activate_backward(shape_.kind, tape, d_tape.pre, d_tape.gate);
  apply_weight_backward<T>(w1_, values, d_tape.pre, low_of(w1_, d_tape), beta, dx);
  if (has_gate()) apply_weight_backward<T>(w3_, values, d_tape.gate, low_of(w3_, d_tape), T{1}, dx);
}

template <class T>
void FeedForward<T>::backward_weights(ConstMatrixView<T> x, const FeedForwardTape<T>& tape, ConstMatrixView<T> dy,
                                      const FeedForwardTape<T>& d_tape, bool accumulate,
                                      ParameterView<T> gradient) const {
  const bool is_linear = shape_.kind == ExpertKind::linear;
  const auto add_weight = [&](const Weight& weight, ConstMatrixView<T> in, ConstMatrixView<T> d_out) {
    own_gradient<T>(weight, {in, low_of(weight, tape), d_out, low_of(weight, d_tape)}, accumulate, gradient);
  };
  const ConstMatrixView<T> d1 = is_linear ? dy : d_tape.pre;
  add_weight(w1_, x, d1);
  if (shape_.bias) bias_gradient<T>(d1, accumulate, gradient.vector(b1_));
  if (is_linear) return;
  if (has_gate()) {
    add_weight(w3_, x, d_tape.gate);
    if (shape_.bias) bias_gradient<T>(d_tape.gate, accumulate, gradient.vector(b3_));
  }
  add_weight(w2_, tape.hidden, dy);
  if (shape_.bias) bias_gradient<T>(dy, accumulate, gradient.vector(b2_));
}

template <class T>
void FeedForward<T>::backward_base(ConstMatrixView<T> x, const FeedForwardTape<T>& tape, ConstMatrixView<T> dy,
                                   const FeedForwardTape<T>& d_tape, ParameterView<T> base_gradient) const {
  const bool is_linear = shape_.kind == ExpertKind::linear;
  add_base_gradient<T>(w1_, x, is_linear ? dy : d_tape.pre, base_gradient);
  if (has_gate()) add_base_gradient<T>(w3_, x, d_tape.gate, base_gradient);
  if (!is_linear) add_base_gradient<T>(w2_, tape.hidden, dy, base_gradient);
}

template class FeedForward<float>;
template class FeedForward<double>;

}  // namespace conclave::experts
