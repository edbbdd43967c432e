// SPDX-License-Identifier: BSD-3-Clause
#include "experts/feed_forward.hpp"

#include "runtime/core/activations.hpp"
#include "runtime/core/vector_kernels.hpp"

#include <cmath>

namespace conclave::experts {
namespace {

// hidden = activation(pre + b1), for swiglu with the gate + b3; pre and gate become the derivatives of hidden.
template <class T>
void activate(ExpertKind kind, std::span<const T> b1, std::span<const T> b3, const FeedForwardTape<T>& tape) {
  for (Index i = 0; i < tape.pre.rows; ++i) {
    if (kind == ExpertKind::relu) relu<T>(b1, tape.pre.row(i), tape.hidden.row(i));
    if (kind == ExpertKind::gelu) gelu<T>(b1, tape.pre.row(i), tape.hidden.row(i));
    if (kind == ExpertKind::swiglu) swiglu<T>(b1, b3, tape.pre.row(i), tape.gate.row(i), tape.hidden.row(i));
  }
}

// d_pre holds the gradient of `hidden` on entry, that of `pre` on return.
template <class T>
void activate_backward(const FeedForwardTape<T>& tape, const FeedForwardTape<T>& d_tape) {
  for (Index i = 0; i < tape.pre.rows; ++i) {
    const std::span<T> d = d_tape.pre.row(i);
    if (tape.gate.data != nullptr) product<T>(tape.gate.row(i), d, d_tape.gate.row(i));
    product<T>(tape.pre.row(i), d, d);
  }
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
  const auto bias = [&](const Tensor& b) { return shape_.bias ? values.own.vector(b) : std::span<const T>{}; };
  apply_weight<T>(w1_, values, x, low_of(w1_, tape), is_linear ? y : tape.pre);
  if (is_linear) {
    if (shape_.bias) add_bias<T>(bias(b1_), y);
    return;
  }
  if (has_gate()) apply_weight<T>(w3_, values, x, low_of(w3_, tape), tape.gate);
  activate<T>(shape_.kind, bias(b1_), bias(b3_), tape);
  apply_weight<T>(w2_, values, tape.hidden, low_of(w2_, tape), y);
  if (shape_.bias) add_bias<T>(bias(b2_), y);
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
  activate_backward(tape, d_tape);
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
