// SPDX-License-Identifier: BSD-3-Clause
#include "gating/gate_network.hpp"
#include "runtime/core/activations.hpp"
#include "runtime/core/gemm.hpp"
#include "runtime/core/vector_kernels.hpp"

#include <cmath>

namespace conclave::gating {
namespace {

template <class T>
class MlpGate final : public GateNetwork<T> {
 public:
  MlpGate(const RouterOptions& options, Index width, ParameterList& parameters, const std::string& prefix)
      : has_bias_(options.router_bias), hidden_(options.gate_width > 0 ? options.gate_width : width) {
    hidden_weight_ = parameters.add_matrix(prefix + "router_hidden_weight", hidden_, width,
                                           {.deviation = 1.0 / std::sqrt(static_cast<double>(width))});
    hidden_bias_ = parameters.add_vector(prefix + "router_hidden_bias", hidden_, {});
    weight_ = parameters.add_matrix(prefix + "router_weight", options.experts, hidden_,
                                    {.deviation = initial_gate_deviation});
    if (has_bias_) bias_ = parameters.add_vector(prefix + "router_bias", options.experts, {});
  }

  void forward(ParameterView<const T> parameters, ConstMatrixView<T> x, GateTape<T>& tape,
               MatrixView<T> logits) const override {
    tape.inner.resize(x.rows, hidden_);
    tape.outer.resize(x.rows, hidden_);
    gemm_nt<T>(x, parameters.matrix(hidden_weight_), T{0}, tape.inner.view());
    for (Index i = 0; i < x.rows; ++i) gelu<T>(parameters.vector(hidden_bias_), tape.inner.row(i), tape.outer.row(i));
    gemm_nt<T>(tape.outer.view(), parameters.matrix(weight_), T{0}, logits);
    if (has_bias_) add_bias<T>(parameters.vector(bias_), logits);
  }

  // z = a W^T + b, a = gelu(h), h = x V^T + c: da = dz W, dh = da gelu'(h), dx = dh V
  void backward(ParameterView<const T> parameters, ConstMatrixView<T> x, const GateTape<T>& tape,
                ConstMatrixView<T> d_logits, MatrixView<T> dx, ParameterView<T> gradient) const override {
    gemm_tn<T>(d_logits, tape.outer.view(), T{1}, gradient.matrix(weight_));
    if (has_bias_) add_column_sums<T>(d_logits, gradient.vector(bias_));
    Matrix<T> d_hidden;
    d_hidden.resize(x.rows, hidden_);
    gemm_nn<T>(d_logits, parameters.matrix(weight_), T{0}, d_hidden.view());
    product<T>(tape.inner.flat(), std::as_const(d_hidden).flat(), d_hidden.flat());
    gemm_tn<T>(d_hidden.view(), x, T{1}, gradient.matrix(hidden_weight_));
    add_column_sums<T>(d_hidden.view(), gradient.vector(hidden_bias_));
    gemm_nn<T>(d_hidden.view(), parameters.matrix(hidden_weight_), T{1}, dx);
  }

 private:
  bool has_bias_;
  Index hidden_;
  Tensor hidden_weight_;  // [hidden, width]
  Tensor hidden_bias_;    // [hidden]
  Tensor weight_;         // [E, hidden]
  Tensor bias_;           // [E]
};

}  // namespace

template <class T>
std::unique_ptr<GateNetwork<T>> make_mlp_gate(const RouterOptions& options, Index width, ParameterList& parameters,
                                              const std::string& prefix) {
  return std::make_unique<MlpGate<T>>(options, width, parameters, prefix);
}

template std::unique_ptr<GateNetwork<float>> make_mlp_gate(const RouterOptions&, Index, ParameterList&,
                                                           const std::string&);
template std::unique_ptr<GateNetwork<double>> make_mlp_gate(const RouterOptions&, Index, ParameterList&,
                                                            const std::string&);

}  // namespace conclave::gating
