// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/infer/token_choice.hpp"

#include "runtime/core/at.hpp"
#include "runtime/core/error.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace conclave::infer {
namespace {

// The tokens that may be drawn.
std::vector<std::int32_t> candidates(std::span<const float> logits, const ChoiceOptions& o) {
  std::vector<std::int32_t> tokens(logits.size());
  std::iota(tokens.begin(), tokens.end(), 0);
  const bool all_stay = (o.top_k == 0 || o.top_k >= std::ssize(tokens)) && o.top_p >= 1.0;
  if (all_stay) return tokens;
  std::ranges::stable_sort(tokens, [&](std::int32_t a, std::int32_t b) { return logits[at(a)] > logits[at(b)]; });
  if (o.top_k > 0 && o.top_k < std::ssize(tokens)) tokens.resize(at(o.top_k));
  return tokens;
}

// exp((z - largest) / temperature) of each.
std::vector<double> weights_of(std::span<const float> logits, std::span<const std::int32_t> tokens, double largest,
                               double temperature) {
  std::vector<double> weights;
  for (const std::int32_t token : tokens) {
    weights.push_back(std::exp((static_cast<double>(logits[at(token)]) - largest) / temperature));
  }
  return weights;
}

// How many of the weights, which descend, have together that share of their sum.
std::size_t count_of_share(std::span<const double> weights, double share) {
  const double wanted = share * std::accumulate(weights.begin(), weights.end(), 0.0);
  double reached = 0.0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    reached += weights[i];
    if (reached >= wanted) return i + 1;
  }
  return weights.size();
}

}  // namespace

void validate(const ChoiceOptions& o) {
  if (!(o.temperature >= 0.0) || std::isinf(o.temperature)) {
    throw InputError(fmt::format("temperature = {}", o.temperature), "give a finite number of at least 0");
  }
  if (o.top_k < 0) throw InputError(fmt::format("top_k = {}", o.top_k), "give 0 (all tokens) or more");
  if (!(o.top_p > 0.0 && o.top_p <= 1.0)) {
    throw InputError(fmt::format("top_p = {}", o.top_p), "give a number above 0 and up to 1 (all tokens)");
  }
}

std::int32_t choose_token(std::span<const float> logits, const ChoiceOptions& o, double u) {
  const auto largest = std::max_element(logits.begin(), logits.end());
  const auto likeliest = static_cast<std::int32_t>(largest - logits.begin());
  if (o.temperature == 0.0) return likeliest;
  const std::vector<std::int32_t> tokens = candidates(logits, o);
  std::vector<double> weights = weights_of(logits, tokens, static_cast<double>(*largest), o.temperature);
  if (o.top_p < 1.0) weights.resize(count_of_share(weights, o.top_p));
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  double reached = 0.0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    reached += weights[i] / total;
    if (u < reached) return tokens[i];
  }
  return likeliest;  // u rounded up to the very end
}

}  // namespace conclave::infer
