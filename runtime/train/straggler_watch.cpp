// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/straggler_watch.hpp"

#include <algorithm>

namespace conclave::train {
namespace {

constexpr bool computes(Phase phase) { return phase != Phase::wait && phase != Phase::reduce && phase != Phase::other; }

double busy(const std::array<double, num_phases>& seconds) {
  double sum = 0.0;
  for (std::size_t p = 0; p < num_phases; ++p) sum += computes(Phase(p)) ? seconds[p] : 0.0;
  return sum;
}

}  // namespace

StragglerWatch::StragglerWatch(const WatchOptions& options, Index num_ranks)
    : options_(options),
      sums_(static_cast<std::size_t>(num_ranks)),
      has_alarm_(sums_.size(), false),
      sorted_(sums_.size()) {}

// Of an even number the lower one: of two ranks the faster is the measure.
template <class Number>
double StragglerWatch::median(const Number& of) {
  std::ranges::transform(sums_, sorted_.begin(), of);
  const auto middle = sorted_.begin() + (std::ssize(sorted_) - 1) / 2;
  std::ranges::nth_element(sorted_, middle);
  return *middle;
}

void StragglerWatch::take(std::size_t rank, std::span<const double> seconds) {
  for (std::size_t p = 0; p < num_phases; ++p) sums_[rank][p] += seconds[p];
}

std::string StragglerWatch::end_window(Index step) {
  constexpr double least_difference_s = 1e-3;  // a step
  const double median_s = median(busy);
  const double half_way = 0.5 * (1.0 + options_.straggler_alarm);
  std::string alarm;
  double longest_s = 0.0;
  for (std::size_t r = 0; r < sums_.size(); ++r) {
    const double busy_s = busy(sums_[r]);
    if (busy_s < half_way * median_s) has_alarm_[r] = false;
    const bool is_slow = busy_s > options_.straggler_alarm * median_s &&
                         busy_s - median_s > least_difference_s * static_cast<double>(steps_);
    if (!is_slow || has_alarm_[r]) continue;
    has_alarm_[r] = true;
    if (busy_s <= longest_s) continue;
    longest_s = busy_s;
    alarm = sentence(step, r, busy_s, median_s);
  }
  std::ranges::fill(sums_, Seconds{});
  steps_ = 0;
  return alarm;
}

std::string StragglerWatch::sentence(Index step, std::size_t rank, double busy_s, double median_s) {
  std::size_t worst = 0;  // the phase that is furthest from the median rank's
  double worst_s = 0.0;
  for (std::size_t p = 0; p < num_phases; ++p) {
    if (!computes(Phase(p))) continue;
    const double more_s = sums_[rank][p] - median([&](const Seconds& s) { return s[p]; });
    if (more_s <= worst_s) continue;
    worst_s = more_s;
    worst = p;
  }
  const double ms_a_step = 1e3 / static_cast<double>(steps_);
  return fmt::format(
      "step {}: the others wait for rank {}: over the last {} steps it computed for {:.1f} ms a step, the median rank "
      "for {:.1f} ms; {:.1f} ms of the difference are in {} (the alarm is at straggler_alarm = {} times the median)",
      step, rank, steps_, ms_a_step * busy_s, ms_a_step * median_s, ms_a_step * worst_s, name_of(Phase(worst)),
      options_.straggler_alarm);
}

}  // namespace conclave::train
