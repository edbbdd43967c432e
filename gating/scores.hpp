// SPDX-License-Identifier: BSD-3-Clause
// From a group's tokens to scores: jitter, logits, noise, softmax or sigmoid; and back.
#pragma once

#include "gating/gate_network.hpp"
#include "gating/router.hpp"

#include <vector>

namespace conclave::gating {

/// One group's scores and what their backward needs. S tokens, E experts.
template <class T>
struct Scores {
  GateTape<T> gate;
  Matrix<T> jitter;            // [S, width] factors on x; empty without jitter
  Matrix<T> jittered;          // [S, width] x times them
  Matrix<T> normal;            // [S, E] draws of the noise; empty without noise
  Matrix<T> noise_input;       // [S, E] x~ W_noise^T
  Matrix<T> logits;            // [S, E] z
  Matrix<T> probability;       // [S, E] the score p
  std::vector<T> log_sum_exp;  // [S] log sum_e exp z
  std::vector<T> total;        // [S] sum_e p, 1 for softmax: the balance probability is p / total
};

/// z = gate(x~) (+ N softplus(x~ W_noise^T)), p = softmax(z) or sigmoid(z), with x~ = x (1 - eps + 2 eps u) under
/// jitter eps and gate a network of gate_network.hpp. Jitter and noise act in training only.
template <class T>
class ScoreFunction {
 public:
  ScoreFunction(const RouterOptions& options, Index seed, Index width, ParameterList& parameters,
                const std::string& prefix);

  /// Fills `scores`. InputError naming step, layer and token where a logit is not finite; with input.notes_not_finite
  /// such a token's logits are taken for 0 instead, and the first one is returned.
  std::optional<TokenId> forward(ParameterView<const T> parameters, const RouterInput<T>& input,
                                 Scores<T>& scores) const;

  /// The sums over the group's tokens that the losses and reports take from the scores: terms.probability, z_sum and
  /// entropy_sum.
  void sum_up(const Scores<T>& scores, BalanceTerms& terms) const;

  /// Given dp = d objective / d p (overwritten), d objective / d pi[t,e] = d_balance[e] for every token, and d
  /// objective / d (logsumexp(z)^2) = d_z, adds to dx and to the parameters' gradient.
  struct Cotangent {
    MatrixView<T> dp;                   // [S, E]
    std::span<const double> d_balance;  // [E], or empty: 0
    double d_z = 0.0;
  };
  void backward(ParameterView<const T> parameters, const RouterInput<T>& input, const Scores<T>& scores,
                const Cotangent& cotangent, MatrixView<T> dx, ParameterView<T> gradient) const;

 private:
  [[nodiscard]] double entropy(const Scores<T>& scores, Index token) const;
  void apply_jitter(const RouterInput<T>& input, Scores<T>& scores) const;
  void add_noise(ParameterView<const T> parameters, const RouterInput<T>& input, ConstMatrixView<T> x,
                 Scores<T>& scores) const;
  void logits_backward(ParameterView<const T> parameters, const RouterInput<T>& input, const Scores<T>& scores,
                       ConstMatrixView<T> dz, MatrixView<T> dx, ParameterView<T> gradient) const;
  [[nodiscard]] bool jitters(const RouterInput<T>& input) const { return input.training && options_.jitter > 0.0; }
  [[nodiscard]] bool is_noisy(const RouterInput<T>& input) const { return input.training && options_.noise; }

  RouterOptions options_;
  Index seed_;
  std::unique_ptr<GateNetwork<T>> gate_;
  Tensor noise_weight_;  // [E, width], if options_.noise
};

}  // namespace conclave::gating
