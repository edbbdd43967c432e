// SPDX-License-Identifier: BSD-3-Clause
// The losses that keep a router healthy: values a group and their gradients (moe_layer sums them over groups).
#pragma once

#include "gating/options.hpp"
#include "runtime/core/matrix.hpp"

#include <span>
#include <vector>

namespace conclave::gating {

/// One group's share of the losses and of what is reported about a router.
struct BalanceTerms {
  std::vector<Index> counted;       // [num_experts] n_e: counted claims, before capacity
  std::vector<double> probability;  // [num_experts] sum over tokens of the balance probability pi
  double z_sum = 0.0;               // sum over tokens of logsumexp(z)^2
  double importance = 0.0;          // Var_e(I) / Mean_e(I)^2
  double entropy_sum = 0.0;         // sum over tokens of the entropy of pi, nats

  /// Everything 0, in the memory that is there.
  void clear(Index num_experts);
};

/// The gradient of the objective with respect to the losses of the groups it averages over.
struct LossCotangent {
  double balance = 0.0;  // coefficients, times whatever scales the objective
  double z = 0.0;
  double importance = 0.0;
  Index num_groups = 1;  // groups that the losses are means over: all of the step's
  /// Counted claims over the step, for BalanceScope::step; empty for BalanceScope::group.
  std::span<const Index> step_counts;

  /// The gradient with respect to logsumexp(z)^2 of one of a group's num_tokens tokens.
  [[nodiscard]] double z_of_a_token(Index num_tokens) const {
    return num_tokens == 0 ? 0.0 : z / (static_cast<double>(num_groups) * static_cast<double>(num_tokens));
  }
};

/// E sum_e (n_e / N) mean_t(pi[t,e]) over num_tokens tokens with N = sum_e n_e: GShard's auxiliary loss (Lepikhin et
/// al. 2021, eq. 5; Fedus et al. 2022, eq. 4), 1 for a perfectly even router. 0 without tokens.
[[nodiscard]] double balance_loss(std::span<const Index> counted, std::span<const double> probability,
                                  Index num_tokens);

/// Writes its gradient with respect to pi[t,e], the same for every token: coefficient E (n_e / N) / num_tokens.
void balance_loss_gradient(std::span<const Index> counted, Index num_tokens, double coefficient,
                           std::span<double> gradient);

/// Var_e(I) / Mean_e(I)^2 with the population variance (Shazeer et al. 2017, eq. 6); 0 where the mean is 0.
[[nodiscard]] double importance_loss(std::span<const double> importance);

/// Writes its gradient with respect to I_e.
void importance_loss_gradient(std::span<const double> importance, double coefficient, std::span<double> gradient);

/// counted[e] = the number of claims on e that the balance loss counts: all choices, or first choices only.
/// choices: [S, k] expert numbers, best first.
void count_claims(ConstMatrixView<std::int32_t> choices, BalanceCount count, std::span<Index> counted);

/// Loss-free balancing (Wang et al. 2024; DeepSeek-V3): bias_e += rate sign(mean n - n_e).
template <class T>
void update_selection_bias(std::span<const Index> load, double rate, std::span<T> bias);

}  // namespace conclave::gating
