// SPDX-License-Identifier: BSD-3-Clause
// What one expert computes, forward and backward, over any rows. Dense feed-forward layers and shared experts are the
// same function over a group's rows.
#pragma once

#include "experts/weight.hpp"
#include "runtime/core/options.hpp"

#include <array>

namespace conclave::experts {

/// The kinds of experts:
///   linear   W1 x + b1                                    W1 [width, width]
///   relu     W2 max(W1 x + b1, 0) + b2                    W1 [hidden, width], W2 [width, hidden]
///   gelu     W2 gelu(W1 x + b1) + b2                      the exact GELU (Hendrycks & Gimpel 2016)
///   swiglu   W2 (silu(W1 x + b1) * (W3 x + b3)) + b2      (Shazeer 2020), W3 [hidden, width]
enum class ExpertKind { linear, relu, gelu, swiglu };

inline constexpr std::array<EnumName<ExpertKind>, 4> enum_names(ExpertKind) {
  return {{{ExpertKind::linear, "linear"},
           {ExpertKind::relu, "relu"},
           {ExpertKind::gelu, "gelu"},
           {ExpertKind::swiglu, "swiglu"}}};
}

struct ExpertShape {
  ExpertKind kind = ExpertKind::gelu;
  Index width = 0;
  Index hidden = 0;  // ignored by linear
  bool bias = false;
  Index delta_rank = 0;  // above 0: each matrix is the layer's base and a delta of this rank
  friend bool operator==(const ExpertShape&, const ExpertShape&) = default;
};

/// Activations that the backward needs: n rows, hidden columns each but for low.
template <class T>
struct FeedForwardTape {
  MatrixView<T> pre;     // W1 x, from the activation on the derivative of hidden by W1 x + b1
  MatrixView<T> gate;    // W3 x, then the derivative by W3 x + b3; swiglu only
  MatrixView<T> hidden;  // what W2 is applied to
  MatrixView<T> low{};   // [n, low_columns]: each weight's product with its B, side by side; with deltas only
};

/// The tensors that experts with deltas of this shape share, named "<prefix>w1" and so on.
[[nodiscard]] ParameterList base_parameters(const ExpertShape& shape, const std::string& prefix, double output_scale);

/// The description of one expert; its values and gradients are views of the list it was registered in, those of a base
/// views of base_parameters.
template <class T>
class FeedForward {
 public:
  /// Registers w1, b1, w3, b3, w2, b2 (those that the kind has) under `prefix`. Initial weights are normal with
  /// deviation 1/sqrt(fan in), those of the output matrix times `output_scale`. With deltas w1_a and w1_b take the
  /// place of w1, and so on: B begins normal with deviation 1/sqrt(fan in) and A as zero, so the expert as its base.
  FeedForward(ParameterList& parameters, const std::string& prefix, const ExpertShape& shape, double output_scale);

  [[nodiscard]] const ExpertShape& shape() const { return shape_; }
  /// The tensors' contiguous range in the list.
  [[nodiscard]] Range parameters() const { return parameters_; }
  /// Columns of the tape's matrices: hidden, 0 for linear.
  [[nodiscard]] Index tape_columns() const { return shape_.kind == ExpertKind::linear ? 0 : shape_.hidden; }
  [[nodiscard]] bool has_gate() const { return shape_.kind == ExpertKind::swiglu; }
  /// Columns of the tape's low: 0 without deltas.
  [[nodiscard]] Index low_columns() const { return w1_.rank() + w3_.rank() + w2_.rank(); }
  /// Floating-point operations of a row's forward; the backward takes twice as many.
  [[nodiscard]] Index flops_per_row() const;

  /// y = f(x), x and y [n, width]; fills the tape. Rows do not depend on each other, but BLAS may round a row otherwise
  /// when n is another.
  void forward(const ExpertValues<T>& values, ConstMatrixView<T> x, const FeedForwardTape<T>& tape,
               MatrixView<T> y) const;

  /// dx = the gradient with respect to x, beta dx added. Leaves in d_tape the gradients of tape.pre, tape.gate and
  /// tape.low, which the weights' gradient needs; d_tape.hidden is not used. For linear only low is.
  void backward_input(const ExpertValues<T>& values, const FeedForwardTape<T>& tape, ConstMatrixView<T> dy,
                      const FeedForwardTape<T>& d_tape, T beta, MatrixView<T> dx) const;

  /// gradient += (accumulate) or = (not accumulate) the gradient of the expert's own parameters over all rows of x.
  void backward_weights(ConstMatrixView<T> x, const FeedForwardTape<T>& tape, ConstMatrixView<T> dy,
                        const FeedForwardTape<T>& d_tape, bool accumulate, ParameterView<T> gradient) const;

  /// base_gradient += this expert's term of the base's gradient over all rows of x. With deltas only.
  void backward_base(ConstMatrixView<T> x, const FeedForwardTape<T>& tape, ConstMatrixView<T> dy,
                     const FeedForwardTape<T>& d_tape, ParameterView<T> base_gradient) const;

 private:
  // The block of `low` that belongs to a weight: w1's, then w3's, then w2's.
  [[nodiscard]] MatrixView<T> low_of(const Weight& weight, const FeedForwardTape<T>& tape) const;

  ExpertShape shape_;
  Weight w1_, w3_, w2_;
  Tensor b1_, b3_, b2_;
  Range parameters_;
};

}  // namespace conclave::experts
