// SPDX-License-Identifier: BSD-3-Clause
// What a router does, in words and formulas, before it does it.
#pragma once

#include "gating/options.hpp"

namespace conclave::gating {

/// One paragraph.
struct Explained {
  std::string title;  // one or two words
  std::string text;
};

/// The tokens that a step brings to the router.
struct RoutedTokens {
  Index in_group = 0;
  Index groups = 0;
};

/// What the router of these (valid) options does with such a step: scores, selection, gates, order, capacity with its
/// slots, losses, random draws, the source and the notes of the preset. Formulas stand as in the code that computes
/// them.
[[nodiscard]] std::vector<Explained> explain(const RouterOptions& options, const RoutedTokens& tokens);

/// The slots before the limits, as a formula: "ceil(cf k S / E)".
[[nodiscard]] std::string formula_of(CapacityFormula formula);

/// What a user should know of a router that the options do not forbid, a sentence each: that expert choice sees future
/// tokens in a causal model, that the gate of top-1 is always 1 when it is normalised.
[[nodiscard]] std::vector<std::string> router_warnings(const RouterOptions& options);

}  // namespace conclave::gating
