// SPDX-License-Identifier: BSD-3-Clause
// Lines through the times of messages, files and copies of different sizes.
#pragma once

#include "runtime/sim/fit.hpp"

namespace conclave::sim {

/// How long so many bytes took.
struct Transfer {
  double bytes = 0.0;    // 0 or more
  double seconds = 0.0;  // more than 0
};

struct LineFit {
  MessageLine line;
  std::vector<double> residuals;  // [transfers], as TermsFit's
};

/// seconds = latency + bytes / bandwidth, as fit_terms. A bandwidth beyond largest_Bps is told as that: such transfers
/// show no size. InputError as fit_terms; that is, also for transfers that are all of one size.
[[nodiscard]] LineFit fit_line(std::span<const Transfer> transfers, const FitOptions& options = {});
inline constexpr double largest_Bps = 1e13;

struct KneeFit {
  MessageLine below;
  MessageLine above;
  double from_bytes = 0.0;        // the smallest size that `above` is for; 0: one line fits all, and both are it
  std::vector<double> residuals;  // [transfers]
};

/// One line for small transfers and another for large ones, as message libraries have it, which send small ones at once
/// and ask before they send large ones. The size between is that of which both together fit best, one of the sizes that
/// are there; one line, where two would leave more than three quarters of its errors. Each line is of at least three
/// sizes. InputError as fit_line, and for fewer than three sizes.
[[nodiscard]] KneeFit fit_knee(std::span<const Transfer> transfers, const FitOptions& options = {});

}  // namespace conclave::sim
