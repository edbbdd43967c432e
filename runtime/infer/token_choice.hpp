// SPDX-License-Identifier: BSD-3-Clause
// Which token comes next, given the logits of all.
#pragma once

#include "runtime/core/ids.hpp"

#include <cstdint>
#include <span>

namespace conclave::infer {

/// How tokens are drawn. First logits are divided by the temperature (0: the likeliest token, no draw). Of the tokens
/// in descending order, equal ones the lower first, the first top_k stay (0: all); of these, as few as have together at
/// least top_p of the probability that is left (1: all; nucleus sampling, Holtzman et al. 2020). One of them is drawn.
struct ChoiceOptions {
  double temperature = 0.8;
  Index top_k = 0;
  double top_p = 1.0;
};

/// InputError, with the value and the remedy, for what is out of range.
void validate(const ChoiceOptions& options);

/// The token that u of (0, 1) draws. logits: [vocabulary], at least one, all finite. Probabilities are formed in
/// float64, in the order of the tokens where all stay, else in descending order.
[[nodiscard]] std::int32_t choose_token(std::span<const float> logits, const ChoiceOptions& options, double u);

}  // namespace conclave::infer
