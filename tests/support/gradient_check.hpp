// SPDX-License-Identifier: BSD-3-Clause
// Analytic gradients against central differences in float64.
#pragma once

#include "runtime/core/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <span>
#include <vector>

namespace conclave::test {

/// `count` normal draws times `deviation` around `mean`; `what` tells arrays of one test apart.
template <class T = double>
[[nodiscard]] std::vector<T> random_values(Index count, Index what, double deviation = 1.0, double mean = 0.0) {
  const Random random(7, RandomStream::initial, what);
  std::vector<T> values(static_cast<std::size_t>(count));
  for (Index i = 0; i < count; ++i) {
    values[static_cast<std::size_t>(i)] = static_cast<T>(mean + deviation * random.normal(i, 0));
  }
  return values;
}

/// sum_i weights_i values_i: with random weights, an objective in which no error of a gradient cancels.
[[nodiscard]] inline double weighted_sum(std::span<const double> weights, std::span<const double> values) {
  EXPECT_EQ(weights.size(), values.size());
  double sum = 0.0;
  for (std::size_t i = 0; i < values.size(); ++i) sum += weights[i] * values[i];
  return sum;
}

/// Expects `analytic` to be the gradient of `objective` at `point`, and at least `min_nonzero` of its elements (half of
/// them where not given) to be well away from zero: a gradient of nothing proves nothing.
///
/// With step h a central difference is wrong by about h^2 |f'''| / 6 + eps |f| / h, least for h ~ eps^(1/3), where both
/// are ~ h^2. `scale` is the larger of 1, |f| and the largest derivative; third derivatives and sums of many terms are
/// covered by the factor 300. So the tolerance is about 1e-8 of the scale.
inline void expect_gradient(const std::function<double(std::span<const double>)>& objective,
                            std::span<const double> point, std::span<const double> analytic, Index min_nonzero = -1) {
  ASSERT_EQ(point.size(), analytic.size());
  ASSERT_FALSE(point.empty());
  const double step = std::cbrt(std::numeric_limits<double>::epsilon());
  std::vector<double> moved(point.begin(), point.end());
  double scale = std::max(1.0, std::abs(objective(point)));
  for (const double derivative : analytic) scale = std::max(scale, std::abs(derivative));
  const double tolerance = 300.0 * step * step * scale;
  Index num_nonzero = 0;
  for (std::size_t i = 0; i < point.size(); ++i) {
    moved[i] = point[i] + step;
    const double above = objective(moved);
    const double upper = moved[i];
    moved[i] = point[i] - step;
    const double slope = (above - objective(moved)) / (upper - moved[i]);
    moved[i] = point[i];
    ASSERT_NEAR(analytic[i], slope, tolerance) << "derivative " << i << " of " << point.size();
    num_nonzero += std::abs(analytic[i]) > 10.0 * tolerance ? 1 : 0;
  }
  EXPECT_GE(num_nonzero, min_nonzero >= 0 ? min_nonzero : static_cast<Index>(point.size() / 2));
}

/// The same bits, not merely equal numbers.
template <class T>
[[nodiscard]] bool same_bits(std::span<const T> a, std::span<const T> b) {
  return a.size() == b.size() && std::ranges::equal(std::as_bytes(a), std::as_bytes(b));
}

}  // namespace conclave::test
