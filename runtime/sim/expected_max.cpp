// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/expected_max.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <vector>

namespace conclave::sim {
namespace {

constexpr double wide = 10.0;           // deviations within which everything happens
constexpr std::size_t most_kinds = 96;  // of amounts that are looked at one by one

double normal_distribution(double z) { return 0.5 * std::erfc(-z / std::sqrt(2.0)); }

double deviation(const Moments& m) { return std::sqrt(m.variance); }

/// Equal amounts, or smaller ones taken for these.
struct Kind {
  Moments amount;
  double count = 0.0;
};

double top_of(const Moments& m) {
  return m.mean + wide * deviation(m) + 2.0 * std::abs(m.third) / std::max(m.variance, 1e-300);
}

// Of those that may exceed `surely` the largest by what they may reach come first and stand by themselves; of the
// others, each lot is taken for its median.
std::vector<Kind> kinds_of(std::span<const Moments> amounts, double surely) {
  std::vector<Moments> sorted;
  std::ranges::copy_if(amounts, std::back_inserter(sorted), [&](const Moments& m) { return top_of(m) > surely; });
  const auto reach = [](const Moments& m) { return m.mean + 3.0 * deviation(m); };
  std::ranges::sort(sorted, [&](const Moments& a, const Moments& b) { return reach(a) > reach(b); });
  std::vector<Kind> kinds;
  std::size_t i = 0;
  for (; i < sorted.size() && kinds.size() < most_kinds; ++i) {
    if (kinds.empty() || sorted[i] != kinds.back().amount) kinds.push_back({sorted[i], 0.0});
    kinds.back().count += 1.0;
  }
  const std::size_t rest = sorted.size() - i;
  const std::size_t lots = std::min(rest, most_kinds);
  for (std::size_t lot = 0; lot < lots; ++lot) {
    const std::size_t begin = i + rest * lot / lots;
    const std::size_t end = i + rest * (lot + 1) / lots;
    kinds.push_back({sorted[(begin + end) / 2], static_cast<double>(end - begin)});
  }
  return kinds;
}

double product_of_distributions(std::span<const Kind> kinds, double x) {
  double log_product = 0.0;
  for (const Kind& kind : kinds) {
    const double below = distribution(kind.amount, x);
    if (below <= 0.0) return 0.0;
    log_product += kind.count * std::log(below);
    if (log_product < -40.0) return 0.0;
  }
  return std::exp(log_product);
}

}  // namespace

double distribution(const Moments& m, double x) {
  const double sigma = deviation(m);
  if (!(sigma > 0.0)) return x >= m.mean ? 1.0 : 0.0;
  const double z = (x - m.mean) / sigma;
  const double skew = m.third / (sigma * sigma * sigma);
  if (std::abs(skew) < 1e-6) return normal_distribution(z);
  const double sign = skew > 0.0 ? 1.0 : -1.0;
  const double g = std::abs(skew);
  const double inside = 1.0 + 0.5 * g * sign * z;
  if (inside <= 0.0) return sign > 0.0 ? 0.0 : 1.0;  // where such amounts end
  const double cube = 6.0 / g * (std::cbrt(inside) - 1.0) + g / 6.0;
  const double below = normal_distribution(cube);
  return sign > 0.0 ? below : 1.0 - below;
}

double expected_max(std::span<const Moments> amounts) {
  if (amounts.empty()) return 0.0;
  double surely = -std::numeric_limits<double>::infinity();  // nothing smaller is the largest
  double top = surely;                                       // nothing is larger
  double largest = surely;                                   // mean
  for (const Moments& m : amounts) {
    largest = std::max(largest, m.mean);
    surely = std::max(surely, m.mean - wide * deviation(m));
    top = std::max(top, top_of(m));
  }
  if (!(top > surely)) return top;
  const std::vector<Kind> kinds = kinds_of(amounts, surely);
  constexpr int steps = 800;
  const double step = (top - surely) / steps;
  double integral = 0.0;
  for (int i = 0; i < steps; ++i) integral += step * product_of_distributions(kinds, surely + (i + 0.5) * step);
  return std::max(largest, top - integral);
}

double deviations_of_largest(Index count) {
  constexpr double deviation = 0.01;
  const std::vector<Moments> amounts(static_cast<std::size_t>(count), Moments{1.0, deviation * deviation, 0.0});
  return std::max(0.0, expected_max(amounts) - 1.0) / deviation;
}

// By its probabilities within `wide` deviations of the mean, each from its neighbour.
Moments capped_binomial(double trials, double probability, double most) {
  const double p = std::clamp(probability, 0.0, 1.0);
  const double mean = trials * p;
  if (p == 0.0 || p == 1.0 || trials == 0.0) return {std::min(mean, most), 0.0, 0.0};
  const double variance = mean * (1.0 - p);
  const double sigma = std::sqrt(variance);
  if (most >= std::min(trials, mean + wide * sigma + 20.0)) {
    return {mean, variance, variance * (1.0 - 2.0 * p)};
  }
  const double first = std::max(0.0, std::floor(mean - wide * sigma - 20.0));
  const double last = std::min(trials, std::ceil(mean + wide * sigma + 20.0));
  double log_chance = std::lgamma(trials + 1.0) - std::lgamma(first + 1.0) - std::lgamma(trials - first + 1.0) +
                      first * std::log(p) + (trials - first) * std::log1p(-p);
  double all = 0.0;
  double one = 0.0;
  double two = 0.0;
  double three = 0.0;
  for (double n = first; n <= last; n += 1.0) {
    const double chance = std::exp(log_chance);
    // About the cap, so that what is far from 0 does not cancel.
    const double x = std::min(n, most) - most;
    all += chance;
    one += chance * x;
    two += chance * x * x;
    three += chance * x * x * x;
    log_chance += std::log((trials - n) / (n + 1.0) * p / (1.0 - p));
  }
  one /= all;
  two /= all;
  three /= all;
  return {most + one, std::max(0.0, two - one * one), three - 3.0 * one * two + 2.0 * one * one * one};
}

}  // namespace conclave::sim
