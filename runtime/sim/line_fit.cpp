// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/line_fit.hpp"

#include "runtime/core/error.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::sim {
namespace {

constexpr std::ptrdiff_t least_sizes = 3;  // of a line

// A slope as a bandwidth: the ends change places.
Fitted bandwidth_of(const Fitted& s_per_byte) {
  const auto inverse = [](double slope) { return 1.0 / std::max(slope, 1.0 / largest_Bps); };
  return {inverse(s_per_byte.value), inverse(s_per_byte.high), inverse(s_per_byte.low)};
}

double sum_of_sizes(std::span<const double> residuals) {
  double sum = 0.0;
  for (const double residual : residuals) sum += std::abs(residual);
  return sum;
}

std::vector<double> sizes_of(std::span<const Transfer> transfers) {
  std::vector<double> sizes;
  for (const Transfer& t : transfers) sizes.push_back(t.bytes);
  std::ranges::sort(sizes);
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  return sizes;
}

/// The transfers on both sides of a size.
struct Halves {
  std::vector<Transfer> below, above;
  Halves(std::span<const Transfer> transfers, double from_bytes) {
    for (const Transfer& t : transfers) (t.bytes < from_bytes ? below : above).push_back(t);
  }
};

}  // namespace

LineFit fit_line(std::span<const Transfer> transfers, const FitOptions& options) {
  FitOptions of_line = options;
  of_line.names = {"beginnings", "bytes", ""};
  std::vector<Observation> observations;
  for (const Transfer& t : transfers) observations.push_back({{1.0, t.bytes, 0.0}, t.seconds});
  const TermsFit fit = fit_terms(observations, of_line);
  return {{fit.costs[0], bandwidth_of(fit.costs[1])}, fit.residuals};
}

KneeFit fit_knee(std::span<const Transfer> transfers, const FitOptions& options) {
  const std::vector<double> sizes = sizes_of(transfers);
  if (std::ssize(sizes) < least_sizes) {
    throw InputError(fmt::format("lines through transfers of {} sizes", sizes.size()),
                     fmt::format("measure at least {}", least_sizes));
  }
  FitOptions quick = options;
  quick.resamples = 0;
  const double of_one = sum_of_sizes(fit_line(transfers, quick).residuals);
  double best = 0.75 * of_one;
  double from_bytes = 0.0;
  // Where one line is exact but for rounding, two would only follow the rounding.
  const bool is_exact = of_one < 1e-9 * static_cast<double>(transfers.size());
  for (std::ptrdiff_t i = least_sizes; i <= std::ssize(sizes) - least_sizes && !is_exact; ++i) {
    const Halves halves(transfers, sizes[static_cast<std::size_t>(i)]);
    const double of_two =
        sum_of_sizes(fit_line(halves.below, quick).residuals) + sum_of_sizes(fit_line(halves.above, quick).residuals);
    if (of_two >= best) continue;
    best = of_two;
    from_bytes = sizes[static_cast<std::size_t>(i)];
  }
  if (from_bytes == 0.0) {
    const LineFit one = fit_line(transfers, options);
    return {one.line, one.line, 0.0, one.residuals};
  }
  const Halves halves(transfers, from_bytes);
  const LineFit below = fit_line(halves.below, options);
  const LineFit above = fit_line(halves.above, options);
  KneeFit knee{below.line, above.line, from_bytes, {}};
  auto next_below = below.residuals.begin();
  auto next_above = above.residuals.begin();
  for (const Transfer& t : transfers) knee.residuals.push_back(t.bytes < from_bytes ? *next_below++ : *next_above++);
  return knee;
}

}  // namespace conclave::sim
