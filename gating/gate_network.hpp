// SPDX-License-Identifier: BSD-3-Clause
// Gate networks: from a group's tokens to one logit an expert, and back. The family that `gate` chooses from.
#pragma once

#include "gating/options.hpp"
#include "runtime/core/parameters.hpp"

#include <memory>
#include <string>
#include <vector>

namespace conclave::gating {

/// What a gate network's forward leaves for its backward. S tokens.
template <class T>
struct GateTape {
  Matrix<T> inner;      // [S, gate_width] mlp: before the activation; cosine: the projection
  Matrix<T> outer;      // [S, gate_width] mlp: after the activation; cosine: the projection's direction
  Matrix<T> direction;  // [E, gate_width] cosine: the experts' directions
  Matrix<T> cosine;     // [S, E] cosine: before the temperature
};

template <class T>
class GateNetwork {
 public:
  virtual ~GateNetwork() = default;
  GateNetwork() = default;
  GateNetwork(const GateNetwork&) = delete;
  GateNetwork& operator=(const GateNetwork&) = delete;

  /// logits [S, E] = the network's output for x [S, width].
  virtual void forward(ParameterView<const T> parameters, ConstMatrixView<T> x, GateTape<T>& tape,
                       MatrixView<T> logits) const = 0;
  /// Adds to dx [S, width] and to the parameters' gradient, from d_logits [S, E] and the x and tape of forward.
  virtual void backward(ParameterView<const T> parameters, ConstMatrixView<T> x, const GateTape<T>& tape,
                        ConstMatrixView<T> d_logits, MatrixView<T> dx, ParameterView<T> gradient) const = 0;
};

/// z = x W^T (+ b). Tensors router_weight [E, width] and, with options.router_bias, router_bias [E].
template <class T>
[[nodiscard]] std::unique_ptr<GateNetwork<T>> make_linear_gate(const RouterOptions& options, Index width,
                                                               ParameterList& parameters, const std::string& prefix);

/// One hidden layer: z = gelu(x V^T + c) W^T (+ b). Tensors router_hidden_weight V [gate_width, width],
/// router_hidden_bias c [gate_width], router_weight W [E, gate_width], router_bias b. gate_width 0: the layer's width.
template <class T>
[[nodiscard]] std::unique_ptr<GateNetwork<T>> make_mlp_gate(const RouterOptions& options, Index width,
                                                            ParameterList& parameters, const std::string& prefix);

/// Tutel's cosine router (gates/cosine_top.py; Chi et al. 2022): with u = x P^T + c,
///   z_e = exp(min(temperature, ln 100)) (u / |u|) . (m_e / |m_e|) (+ b_e)
/// Tensors router_projection P [gate_width, width], router_projection_bias c [gate_width], router_weight m [E,
/// gate_width], router_temperature [1], which begins at ln 2. gate_width 0: the least of width / 2 and 256. Norms are
/// taken as at least 1e-12.
template <class T>
[[nodiscard]] std::unique_ptr<GateNetwork<T>> make_cosine_gate(const RouterOptions& options, Index width,
                                                               ParameterList& parameters, const std::string& prefix);

/// The network that options.gate names.
template <class T>
[[nodiscard]] std::unique_ptr<GateNetwork<T>> make_gate_network(const RouterOptions& options, Index width,
                                                                ParameterList& parameters, const std::string& prefix) {
  switch (options.gate) {
    case GateKind::linear:
      return make_linear_gate<T>(options, width, parameters, prefix);
    case GateKind::mlp:
      return make_mlp_gate<T>(options, width, parameters, prefix);
    case GateKind::cosine:
      return make_cosine_gate<T>(options, width, parameters, prefix);
  }
  invariant(false, "a gate network of number {}", static_cast<int>(options.gate));
  return nullptr;
}

/// Deviation of the initial weights that make logits: a router begins nearly even.
inline constexpr double initial_gate_deviation = 0.02;

}  // namespace conclave::gating
