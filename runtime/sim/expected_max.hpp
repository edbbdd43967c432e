// SPDX-License-Identifier: BSD-3-Clause
// How much the fullest of many has, on average: even a perfectly fair router gives some rank more than the mean.
#pragma once

#include "runtime/core/ids.hpp"

#include <span>

namespace conclave::sim {

/// A random amount by its mean, variance and third central moment. Those of independent amounts add up.
struct Moments {
  double mean = 0.0;
  double variance = 0.0;
  double third = 0.0;

  Moments& operator+=(const Moments& other) {
    mean += other.mean;
    variance += other.variance;
    third += other.third;
    return *this;
  }
  /// Of the amount times a number.
  [[nodiscard]] Moments scaled(double factor) const {
    return {factor * mean, factor * factor * variance, factor * factor * factor * third};
  }
  /// Of the sum of so many independent ones.
  [[nodiscard]] Moments repeated(double times) const { return {times * mean, times * variance, times * third}; }
  friend bool operator==(const Moments&, const Moments&) = default;
};

/// P(amount <= x): of the gamma distribution with these moments (by Wilson and Hilferty's cube root), which a sum of
/// many small counts is close to; the normal one without skew.
[[nodiscard]] double distribution(const Moments& amount, double x);

/// E[the largest of independent amounts] = top - integral of the product of their distributions. Many different ones
/// that are far from being the largest are taken together, never as more than they are. 0 of none.
[[nodiscard]] double expected_max(std::span<const Moments> amounts);

/// By how many deviations the largest of so many independent normal amounts is above their mean, on average.
[[nodiscard]] double deviations_of_largest(Index count);

/// The moments of min(X, most), X binomial: `trials` that succeed with `probability` each.
[[nodiscard]] Moments capped_binomial(double trials, double probability, double most);

}  // namespace conclave::sim
