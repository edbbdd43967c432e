// SPDX-License-Identifier: BSD-3-Clause
#include "gating/gate_network.hpp"
#include "runtime/core/gemm.hpp"
#include "runtime/core/scratch.hpp"
#include "runtime/core/vector_kernels.hpp"

#include <cmath>

namespace conclave::gating {
namespace {

constexpr double least_norm = 1e-12;
const double largest_temperature = std::log(100.0);

template <class T>
double norm_of(std::span<const T> row) {
  return std::max(std::sqrt(sum_of_squares<T>(row)), least_norm);
}

// direction = row / |row|, row by row
template <class T>
void normalise_rows(ConstMatrixView<T> rows, MatrixView<T> direction) {
  for (Index i = 0; i < rows.rows; ++i) {
    scaled_copy<T>(static_cast<T>(1.0 / norm_of<T>(rows.row(i))), rows.row(i), direction.row(i));
  }
}

// u^ = u / |u|: du += (du^ - u^ (u^ . du^)) / |u|, without the second term where |u| is held at its least value.
template <class T>
void normalise_rows_backward(ConstMatrixView<T> rows, ConstMatrixView<T> direction, ConstMatrixView<T> d_direction,
                             MatrixView<T> d_rows) {
  for (Index i = 0; i < rows.rows; ++i) {
    const double norm = norm_of<T>(rows.row(i));
    const auto inverse = static_cast<T>(1.0 / norm);
    axpy<T>(inverse, d_direction.row(i), d_rows.row(i));
    if (norm > least_norm) {
      axpy<T>(-inverse * dot<T>(direction.row(i), d_direction.row(i)), direction.row(i), d_rows.row(i));
    }
  }
}

template <class T>
class CosineGate final : public GateNetwork<T> {
 public:
  CosineGate(const RouterOptions& options, Index width, ParameterList& parameters, const std::string& prefix)
      : has_bias_(options.router_bias),
        inner_(options.gate_width > 0 ? options.gate_width : std::max<Index>(1, std::min<Index>(width / 2, 256))) {
    projection_ = parameters.add_matrix(prefix + "router_projection", inner_, width,
                                        {.deviation = 1.0 / std::sqrt(static_cast<double>(width))});
    projection_bias_ = parameters.add_vector(prefix + "router_projection_bias", inner_, {});
    // Only its rows' directions matter; Tutel's deviation.
    weight_ = parameters.add_matrix(prefix + "router_weight", options.experts, inner_, {.deviation = 0.01});
    temperature_ = parameters.add_vector(prefix + "router_temperature", 1, {.constant = std::log(2.0)});
    if (has_bias_) bias_ = parameters.add_vector(prefix + "router_bias", options.experts, {});
  }

  void forward(ParameterView<const T> parameters, ConstMatrixView<T> x, GateTape<T>& tape,
               MatrixView<T> logits) const override {
    tape.inner.resize(x.rows, inner_);
    tape.outer.resize(x.rows, inner_);
    tape.direction.resize(logits.cols, inner_);
    tape.cosine.resize(logits.rows, logits.cols);
    gemm_nt<T>(x, parameters.matrix(projection_), T{0}, tape.inner.view());
    add_bias<T>(parameters.vector(projection_bias_), tape.inner.view());
    normalise_rows<T>(tape.inner.view(), tape.outer.view());
    normalise_rows<T>(parameters.matrix(weight_), tape.direction.view());
    gemm_nt<T>(tape.outer.view(), tape.direction.view(), T{0}, tape.cosine.view());
    for (Index t = 0; t < logits.rows; ++t) {
      scaled_copy<T>(scale(parameters), std::as_const(tape.cosine).row(t), logits.row(t));
    }
    if (has_bias_) add_bias<T>(parameters.vector(bias_), logits);
  }

  // z = s cos, s = exp(min(temperature, ln 100)): dcos = s dz, d temperature = s sum(dz cos); cos = u^ m^T
  void backward(ParameterView<const T> parameters, ConstMatrixView<T> x, const GateTape<T>& tape,
                ConstMatrixView<T> d_logits, MatrixView<T> dx, ParameterView<T> gradient) const override {
    const T s = scale(parameters);
    const Index num_experts = d_logits.cols;
    Scratch scratch;
    const MatrixView<T> d_cosine = scratch.matrix<T>(d_logits.rows, num_experts);
    double through_scale = 0.0;
    for (Index t = 0; t < d_logits.rows; ++t) {
      scaled_copy<T>(s, d_logits.row(t), d_cosine.row(t));
      through_scale += static_cast<double>(dot<T>(d_logits.row(t), tape.cosine.row(t)));
    }
    if (static_cast<double>(parameters.vector(temperature_)[0]) <= largest_temperature) {
      gradient.vector(temperature_)[0] += static_cast<T>(static_cast<double>(s) * through_scale);
    }
    if (has_bias_) add_column_sums<T>(d_logits, gradient.vector(bias_));

    const MatrixView<T> d_direction = scratch.matrix<T>(num_experts, inner_);
    gemm_tn<T>(d_cosine, tape.outer.view(), T{0}, d_direction);
    normalise_rows_backward<T>(parameters.matrix(weight_), tape.direction.view(), d_direction,
                               gradient.matrix(weight_));

    const MatrixView<T> d_outer = scratch.matrix<T>(x.rows, inner_);
    gemm_nn<T>(d_cosine, tape.direction.view(), T{0}, d_outer);
    const MatrixView<T> d_inner = scratch.matrix<T>(x.rows, inner_, T{0});
    normalise_rows_backward<T>(tape.inner.view(), tape.outer.view(), d_outer, d_inner);
    gemm_tn<T>(d_inner, x, T{1}, gradient.matrix(projection_));
    add_column_sums<T>(d_inner, gradient.vector(projection_bias_));
    gemm_nn<T>(d_inner, parameters.matrix(projection_), T{1}, dx);
  }

 private:
  [[nodiscard]] T scale(ParameterView<const T> parameters) const {
    return static_cast<T>(
        std::exp(std::min(static_cast<double>(parameters.vector(temperature_)[0]), largest_temperature)));
  }

  bool has_bias_;
  Index inner_;
  Tensor projection_;       // [inner, width]
  Tensor projection_bias_;  // [inner]
  Tensor weight_;           // [E, inner]
  Tensor temperature_;      // [1]
  Tensor bias_;             // [E]
};

}  // namespace

template <class T>
std::unique_ptr<GateNetwork<T>> make_cosine_gate(const RouterOptions& options, Index width, ParameterList& parameters,
                                                 const std::string& prefix) {
  return std::make_unique<CosineGate<T>>(options, width, parameters, prefix);
}

template std::unique_ptr<GateNetwork<float>> make_cosine_gate(const RouterOptions&, Index, ParameterList&,
                                                              const std::string&);
template std::unique_ptr<GateNetwork<double>> make_cosine_gate(const RouterOptions&, Index, ParameterList&,
                                                               const std::string&);

}  // namespace conclave::gating
