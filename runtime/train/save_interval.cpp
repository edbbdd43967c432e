// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/save_interval.hpp"

#include "runtime/core/error.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::train {

Index young_interval(double cost_s, double mtbf_s, double step_s) {
  invariant(cost_s >= 0.0 && mtbf_s > 0.0 && step_s > 0.0, "saves of {} s, failures every {} s, steps of {} s", cost_s,
            mtbf_s, step_s);
  const double interval_s = std::min(std::sqrt(2.0 * cost_s * mtbf_s), mtbf_s);
  constexpr double most_steps = 1e15;
  return std::max<Index>(1, std::llround(std::min(interval_s / step_s, most_steps)));
}

}  // namespace conclave::train
