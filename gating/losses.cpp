// SPDX-License-Identifier: BSD-3-Clause
#include "gating/losses.hpp"

#include <numeric>

namespace conclave::gating {
namespace {

struct Moments {
  double mean = 0.0;
  double variance = 0.0;  // population
};

Moments moments(std::span<const double> values) {
  const auto n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double squares = 0.0;
  for (const double v : values) squares += (v - mean) * (v - mean);
  return {mean, squares / n};
}

}  // namespace

void BalanceTerms::clear(Index num_experts) {
  counted.assign(static_cast<std::size_t>(num_experts), 0);
  probability.assign(static_cast<std::size_t>(num_experts), 0.0);
  z_sum = 0.0;
  importance = 0.0;
  entropy_sum = 0.0;
}

double balance_loss(std::span<const Index> counted, std::span<const double> probability, Index num_tokens) {
  const Index claims = std::accumulate(counted.begin(), counted.end(), Index{0});
  if (claims == 0) return 0.0;
  double sum = 0.0;
  for (std::size_t e = 0; e < counted.size(); ++e) {
    sum += static_cast<double>(counted[e]) / static_cast<double>(claims) *
           (probability[e] / static_cast<double>(num_tokens));
  }
  return static_cast<double>(counted.size()) * sum;
}

void balance_loss_gradient(std::span<const Index> counted, Index num_tokens, double coefficient,
                           std::span<double> gradient) {
  const Index claims = std::accumulate(counted.begin(), counted.end(), Index{0});
  std::ranges::fill(gradient, 0.0);
  if (claims == 0) return;
  const double scale = coefficient * static_cast<double>(counted.size()) / static_cast<double>(num_tokens);
  for (std::size_t e = 0; e < counted.size(); ++e) {
    gradient[e] = scale * (static_cast<double>(counted[e]) / static_cast<double>(claims));
  }
}

double importance_loss(std::span<const double> importance) {
  const auto [mean, variance] = moments(importance);
  return mean == 0.0 ? 0.0 : variance / (mean * mean);
}

void importance_loss_gradient(std::span<const double> importance, double coefficient, std::span<double> gradient) {
  const auto [mean, variance] = moments(importance);
  std::ranges::fill(gradient, 0.0);
  if (mean == 0.0) return;
  const auto n = static_cast<double>(importance.size());
  for (std::size_t e = 0; e < importance.size(); ++e) {
    gradient[e] = coefficient * (2.0 / n) * ((importance[e] - mean) / (mean * mean) - variance / (mean * mean * mean));
  }
}

void count_claims(ConstMatrixView<std::int32_t> choices, BalanceCount count, std::span<Index> counted) {
  std::ranges::fill(counted, Index{0});
  const Index columns = count == BalanceCount::first ? std::min<Index>(1, choices.cols) : choices.cols;
  for (Index t = 0; t < choices.rows; ++t) {
    for (Index j = 0; j < columns; ++j) ++counted[static_cast<std::size_t>(choices(t, j))];
  }
}

template <class T>
void update_selection_bias(std::span<const Index> load, double rate, std::span<T> bias) {
  const Index total = std::accumulate(load.begin(), load.end(), Index{0});
  const auto n = static_cast<Index>(load.size());
  for (std::size_t e = 0; e < load.size(); ++e) {
    // sign(mean - n_e) without a division: the mean may not be whole
    const Index difference = total - n * load[e];
    const double sign = difference > 0 ? 1.0 : (difference < 0 ? -1.0 : 0.0);
    bias[e] += static_cast<T>(rate * sign);
  }
}

template void update_selection_bias(std::span<const Index>, double, std::span<float>);
template void update_selection_bias(std::span<const Index>, double, std::span<double>);

}  // namespace conclave::gating
