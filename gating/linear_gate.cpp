// SPDX-License-Identifier: BSD-3-Clause
#include "gating/gate_network.hpp"
#include "runtime/core/gemm.hpp"
#include "runtime/core/vector_kernels.hpp"

namespace conclave::gating {
namespace {

template <class T>
class LinearGate final : public GateNetwork<T> {
 public:
  LinearGate(const RouterOptions& options, Index width, ParameterList& parameters, const std::string& prefix)
      : has_bias_(options.router_bias) {
    weight_ =
        parameters.add_matrix(prefix + "router_weight", options.experts, width, {.deviation = initial_gate_deviation});
    if (has_bias_) bias_ = parameters.add_vector(prefix + "router_bias", options.experts, {});
  }

  void forward(ParameterView<const T> parameters, ConstMatrixView<T> x, GateTape<T>&,
               MatrixView<T> logits) const override {
    gemm_nt<T>(x, parameters.matrix(weight_), T{0}, logits);
    if (has_bias_) add_bias<T>(parameters.vector(bias_), logits);
  }

  // z = x W^T + b: dW = dz^T x, db = column sums of dz, dx = dz W
  void backward(ParameterView<const T> parameters, ConstMatrixView<T> x, const GateTape<T>&,
                ConstMatrixView<T> d_logits, MatrixView<T> dx, ParameterView<T> gradient) const override {
    gemm_nn<T>(d_logits, parameters.matrix(weight_), T{1}, dx);
    gemm_tn<T>(d_logits, x, T{1}, gradient.matrix(weight_));
    if (has_bias_) add_column_sums<T>(d_logits, gradient.vector(bias_));
  }

 private:
  bool has_bias_;
  Tensor weight_;  // [E, width]
  Tensor bias_;    // [E]
};

}  // namespace

template <class T>
std::unique_ptr<GateNetwork<T>> make_linear_gate(const RouterOptions& options, Index width, ParameterList& parameters,
                                                 const std::string& prefix) {
  return std::make_unique<LinearGate<T>>(options, width, parameters, prefix);
}

template std::unique_ptr<GateNetwork<float>> make_linear_gate(const RouterOptions&, Index, ParameterList&,
                                                              const std::string&);
template std::unique_ptr<GateNetwork<double>> make_linear_gate(const RouterOptions&, Index, ParameterList&,
                                                               const std::string&);

}  // namespace conclave::gating
