// SPDX-License-Identifier: BSD-3-Clause
// What things cost, from how long known amounts of them took: the step from measurements to a Machine.
#pragma once

#include "runtime/sim/machine.hpp"

#include <span>

namespace conclave::sim {

inline constexpr std::size_t most_terms = 5;

/// So much of up to five things was done, and took so long.
struct Observation {
  std::array<double, most_terms> amounts{};  // 0 or more
  double seconds = 0.0;                      // more than 0
};

struct FitOptions {
  /// Of the things, for messages.
  std::array<std::string_view, most_terms> names{"calls", "flops", "bytes", "far bytes", "elements"};
  Index resamples = 300;  // of the observations, for the intervals; 0: none are wanted
  Index seed = 1;         // of what is drawn for them
};

/// The value with so large a share of the others below it, 0 to 1, between two values interpolated. InvariantError for
/// no values.
[[nodiscard]] double quantile(std::vector<double> values, double share);
/// The same of the values' sizes: without their signs.
[[nodiscard]] double size_quantile(std::span<const double> values, double share);
/// Half of the values are smaller, but for the sign.
[[nodiscard]] inline double median_size(std::span<const double> values) { return size_quantile(values, 0.5); }

/// seconds = sum of costs[k] amounts[k].
struct TermsFit {
  std::array<Fitted, most_terms> costs{};  // [s] of one of each thing
  std::vector<double> residuals;           // [observations] predicted over measured seconds, less 1
  double residual_sigma = 0.0;             // 9 of 10 residuals are within deviations_of_90 of it
  [[nodiscard]] double predicted_s(const Observation& observation) const;
  [[nodiscard]] double median_residual() const { return median_size(residuals); }
};

/// The costs, none negative, that leave the least squares of relative errors, of which large ones count less than their
/// square (Huber 1964): so that a few timings that something else has disturbed move little. Intervals are those of
/// fits to data resampled from the residuals. A thing that never occurs costs 0. The same for the same input.
/// InputError for amounts and times that are negative or not finite, for no more observations than things, and for
/// things that occur in fixed proportion, whose costs no measurement can tell apart.
[[nodiscard]] TermsFit fit_terms(std::span<const Observation> observations, const FitOptions& options = {});

/// Whether any of the things could be left to the others: the observations have it in fixed proportion to them.
[[nodiscard]] bool are_in_proportion(std::span<const Observation> observations);

/// The sigma of which 9 of 10 values are within deviations_of_90, so that what lies far out does not count by its size.
/// `num_costs`: what was fitted to the values. InvariantError for no more values than that.
[[nodiscard]] double robust_sigma(std::span<const double> values, std::size_t num_costs);

}  // namespace conclave::sim
