// SPDX-License-Identifier: BSD-3-Clause
// What functions of one variable are tried at, and one that several tests compare with.
#pragma once

#include <cmath>
#include <vector>

namespace conclave::test {

/// Arguments from -40 to 40, dense around 0, with both zeros.
template <class T>
[[nodiscard]] std::vector<T> arguments() {
  std::vector<T> x{T(0), T(-0.0)};
  for (double v = 1e-6; v < 40.0; v *= 1.03) {
    x.push_back(static_cast<T>(v));
    x.push_back(static_cast<T>(-v));
  }
  return x;
}

[[nodiscard]] inline double logistic(double x) { return 1.0 / (1.0 + std::exp(-x)); }

}  // namespace conclave::test
