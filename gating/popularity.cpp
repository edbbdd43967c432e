// SPDX-License-Identifier: BSD-3-Clause
#include "gating/popularity.hpp"

#include "runtime/core/parse_number.hpp"

#include <cmath>
#include <numeric>

namespace conclave::gating {
namespace {

std::vector<double> normalised(std::vector<double> weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& weight : weights) weight /= sum;
  return weights;
}

// Descending.
std::vector<double> zipf_shares(Index experts, double exponent) {
  std::vector<double> weights;
  for (Index i = 1; i <= experts; ++i) weights.push_back(std::pow(static_cast<double>(i), -exponent));
  return normalised(std::move(weights));
}

// Descending: the steps of the Lorenz curve x^a.
std::vector<double> power_shares(Index experts, double a) {
  std::vector<double> shares;
  const auto n = static_cast<double>(experts);
  for (Index i = experts; i > 0; --i) {
    shares.push_back(std::pow(static_cast<double>(i) / n, a) - std::pow(static_cast<double>(i - 1) / n, a));
  }
  return normalised(std::move(shares));
}

// The power whose shares have the coefficient: it rises with the power.
std::vector<double> gini_shares(Index experts, double gini) {
  double low = 1.0;
  double high = 2.0;
  while (gini_coefficient(power_shares(experts, high)) < gini) high *= 2.0;
  for (int i = 0; i < 60; ++i) {
    const double middle = 0.5 * (low + high);
    (gini_coefficient(power_shares(experts, middle)) < gini ? low : high) = middle;
  }
  return power_shares(experts, high);
}

void expect_amount(const SkewOptions& o, Index experts) {
  if (o.skew == Skew::zipf && !(std::isfinite(o.amount) && o.amount >= 0.0 && o.amount <= 16.0)) {
    throw InputError(fmt::format("skew zipf:{}", o.amount), "give an exponent from 0 to 16");
  }
  const double most = 1.0 - 1.0 / static_cast<double>(experts);
  // Not up to the end: there the power is infinite.
  if (o.skew == Skew::gini && o.amount != 0.0 && !(o.amount > 0.0 && o.amount <= 0.99 * most)) {
    throw InputError(fmt::format("skew gini:{} of {} experts", o.amount, experts),
                     fmt::format("give a coefficient from 0 to {:.3g}", 0.99 * most));
  }
}

// Place i goes to the expert whose multiple of the golden ratio has the i-th smallest fraction.
std::vector<double> spread(const std::vector<double>& descending) {
  constexpr double golden = 0.6180339887498949;
  std::vector<std::size_t> order(descending.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto fraction = [](std::size_t i) {
    const double multiple = static_cast<double>(i) * golden;
    return multiple - std::floor(multiple);
  };
  std::ranges::sort(order, [&](std::size_t a, std::size_t b) { return fraction(a) < fraction(b); });
  std::vector<double> shares(descending.size());
  for (std::size_t i = 0; i < order.size(); ++i) shares[order[i]] = descending[i];
  return shares;
}

}  // namespace

SkewOptions parse_skew(std::string_view text) {
  const std::string_view word = text.substr(0, text.find(':'));
  for (const auto& entry : enum_names(Skew{})) {
    if (entry.name != word) continue;
    if (entry.value == Skew::uniform && word == text) return {};
    if (entry.value == Skew::uniform || word == text) break;
    const std::optional<double> amount = parse_number<double>(text.substr(word.size() + 1));
    if (amount) return {entry.value, *amount};
    break;
  }
  std::vector<std::string> names;
  for (const auto& entry : enum_names(Skew{})) names.emplace_back(entry.name);
  throw InputError(fmt::format("skew = '{}'{}", text,
                               did_you_mean(word == text ? nearest_names(word, names) : std::vector<std::string>{})),
                   "give uniform, zipf:EXPONENT or gini:COEFFICIENT, such as zipf:1.0");
}

std::vector<double> expert_popularity(const SkewOptions& o, Index experts) {
  invariant(experts > 0, "the popularity of {} experts", experts);
  expect_amount(o, experts);
  switch (o.skew) {
    case Skew::uniform:
      break;
    case Skew::zipf:
      return spread(zipf_shares(experts, o.amount));
    case Skew::gini:
      if (o.amount > 0.0) return spread(gini_shares(experts, o.amount));
      break;
  }
  return std::vector<double>(static_cast<std::size_t>(experts), 1.0 / static_cast<double>(experts));
}

double gini_coefficient(std::vector<double> shares) {
  std::ranges::sort(shares);
  double below = 0.0;
  double weighted = 0.0;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    weighted += (static_cast<double>(i) + 0.5) * shares[i];
    below += shares[i];
  }
  const auto n = static_cast<double>(shares.size());
  return below > 0.0 ? 2.0 * weighted / (n * below) - 1.0 : 0.0;
}

}  // namespace conclave::gating
