// SPDX-License-Identifier: BSD-3-Clause
// Notices a rank that the others wait for, step after step.
#pragma once

#include "runtime/core/trace.hpp"
#include "runtime/train/watch_options.hpp"

#include <span>
#include <string>
#include <vector>

namespace conclave::train {

/// Adds up the time in which each rank computes (all phases but those that wait for others) over windows of steps. A
/// rank that has computed straggler_alarm times as long as the median rank, and a millisecond a step longer, is named
/// once, until it is half-way back.
class StragglerWatch {
 public:
  StragglerWatch(const WatchOptions& options, Index num_ranks);

  /// Takes the times of step `step`: times(rank) = [num_phases] seconds. Returns a sentence about a rank that has
  /// become a straggler, or nothing.
  template <class Times>
  [[nodiscard]] std::string add(Index step, const Times& times) {
    if (!watches()) return {};
    for (std::size_t r = 0; r < sums_.size(); ++r) take(r, times(RankId{static_cast<Index>(r)}));
    return ++steps_ < options_.straggler_window ? std::string() : end_window(step);
  }

 private:
  using Seconds = std::array<double, num_phases>;
  [[nodiscard]] bool watches() const { return options_.straggler_alarm > 0.0 && sums_.size() > 1; }
  void take(std::size_t rank, std::span<const double> seconds);
  [[nodiscard]] std::string end_window(Index step);
  template <class Number>
  [[nodiscard]] double median(const Number& of);  // over ranks
  [[nodiscard]] std::string sentence(Index step, std::size_t rank, double busy_s, double median_s);

  WatchOptions options_;
  std::vector<Seconds> sums_;    // [ranks] of the steps of this window
  std::vector<bool> has_alarm_;  // [ranks]
  std::vector<double> sorted_;   // [ranks] scratch
  Index steps_ = 0;              // of this window
};

}  // namespace conclave::train
