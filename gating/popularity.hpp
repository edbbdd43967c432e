// SPDX-License-Identifier: BSD-3-Clause
// Made-up routing: which share of all choices each expert gets, where nothing was recorded.
#pragma once

#include "runtime/core/options.hpp"

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::gating {

/// uniform: all alike. zipf: the i-th most popular of the experts gets 1 / i^amount. gini: shares whose Gini
/// coefficient is the amount, 0 (all alike) to below 1 - 1/experts (one gets all); their Lorenz curve is a power.
enum class Skew { uniform, zipf, gini };
inline constexpr std::array<EnumName<Skew>, 3> enum_names(Skew) {
  return {{{Skew::uniform, "uniform"}, {Skew::zipf, "zipf"}, {Skew::gini, "gini"}}};
}

struct SkewOptions {
  Skew skew = Skew::uniform;
  double amount = 0.0;
};

/// "uniform", "zipf:1.0", "gini:0.4". InputError for anything else, with what there is.
[[nodiscard]] SkewOptions parse_skew(std::string_view text);

/// [experts] shares that add up to 1, by expert. The popular ones are spread over the experts' numbers as the multiples
/// of the golden ratio are, so that no rank's contiguous share has them all. InputError for an amount out of range.
[[nodiscard]] std::vector<double> expert_popularity(const SkewOptions& options, Index experts);

/// 0: all shares are alike; 1 - 1/n: one of n has all.
[[nodiscard]] double gini_coefficient(std::vector<double> shares);

}  // namespace conclave::gating
