// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/fit.hpp"

#include "runtime/core/at.hpp"
#include "runtime/core/error.hpp"
#include "runtime/core/random.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace conclave::sim {
namespace {

using Costs = std::array<double, most_terms>;
using Matrix = std::array<Costs, most_terms>;

constexpr unsigned all_terms = (1U << most_terms) - 1;

bool has(unsigned terms, std::size_t k) { return (terms >> k & 1U) != 0; }

double product(const Costs& costs, const Costs& amounts) {
  double sum = 0.0;
  for (std::size_t k = 0; k < most_terms; ++k) sum += costs[k] * amounts[k];
  return sum;
}

unsigned terms_that_occur(std::span<const Observation> observations) {
  unsigned terms = 0;
  for (const Observation& o : observations) {
    for (std::size_t k = 0; k < most_terms; ++k) terms |= o.amounts[k] > 0.0 ? 1U << k : 0U;
  }
  return terms;
}

/// Least squares of weighted relative errors.
struct Squares {
  Matrix amounts{};  // sum of weight amounts[j] amounts[k]
  Costs seconds{};   // sum of weight amounts[k] seconds

  Squares(std::span<const Observation> observations, std::span<const double> weights) {
    for (std::size_t i = 0; i < observations.size(); ++i) {
      const Observation& o = observations[i];
      for (std::size_t j = 0; j < most_terms; ++j) {
        for (std::size_t k = 0; k < most_terms; ++k) amounts[j][k] += weights[i] * o.amounts[j] * o.amounts[k];
        seconds[j] += weights[i] * o.amounts[j] * o.seconds;
      }
    }
  }

  // Costs of some of the things, the others costing nothing, by Cholesky's factors of the equations with a diagonal of
  // 1. Nothing where some of them are in proportion.
  [[nodiscard]] std::optional<Costs> solve(unsigned terms) const {
    constexpr double least_pivot = 1e-9;  // what is left of a thing that the others do not tell
    Matrix factor{};
    Costs scale{}, half{}, costs{};
    for (std::size_t j = 0; j < most_terms; ++j) scale[j] = has(terms, j) ? 1.0 / std::sqrt(amounts[j][j]) : 0.0;
    for (std::size_t j = 0; j < most_terms; ++j) {
      if (!has(terms, j)) continue;
      half[j] = seconds[j] * scale[j];
      for (std::size_t k = 0; k <= j; ++k) {
        double rest = amounts[j][k] * scale[j] * scale[k];
        for (std::size_t l = 0; l < k; ++l) rest -= factor[j][l] * factor[k][l];
        if (k == j && !(rest > least_pivot)) return std::nullopt;
        if (has(terms, k)) factor[j][k] = k == j ? std::sqrt(rest) : rest / factor[k][k];
      }
      for (std::size_t l = 0; l < j; ++l) half[j] -= factor[j][l] * half[l];
      half[j] /= factor[j][j];
    }
    for (std::size_t j = most_terms; j-- > 0;) {
      if (!has(terms, j)) continue;
      costs[j] = half[j];
      for (std::size_t l = j + 1; l < most_terms; ++l) costs[j] -= factor[l][j] * costs[l];
      costs[j] /= factor[j][j];
    }
    for (std::size_t j = 0; j < most_terms; ++j) costs[j] *= scale[j];
    return costs;
  }

  // Less the sum of squared seconds, which is the same for all.
  [[nodiscard]] double loss(const Costs& costs) const {
    double sum = 0.0;
    for (std::size_t j = 0; j < most_terms; ++j) sum += costs[j] * (product(costs, amounts[j]) - 2.0 * seconds[j]);
    return sum;
  }

  // The least that no cost is negative at: at the least, some costs are 0 and the others solve their own equations. Of
  // so few things all selections are tried.
  [[nodiscard]] Costs least(unsigned terms) const {
    std::optional<Costs> best;
    for (unsigned some = 1; some <= all_terms; ++some) {
      if ((some & ~terms) != 0) continue;
      const std::optional<Costs> costs = solve(some);
      if (!costs || std::ranges::any_of(*costs, [](double c) { return c < 0.0; })) continue;
      if (!best || loss(*costs) < loss(*best)) best = costs;
    }
    invariant(best.has_value(), "no costs without a negative one, of {} things", terms);
    return *best;
  }
};

// What an error is measured by. Never much less than the seconds that were measured: a prediction may be 0.
double scale_of(const Observation& o, double predicted_s) { return std::max(predicted_s, 0.1 * o.seconds); }

// Relative to predictions, not measurements: else slow timings would count less than fast ones, and the costs come out
// too small. The first time there is no prediction.
Costs robust_costs(std::span<const Observation> observations, unsigned terms) {
  constexpr int most_rounds = 50;
  constexpr double huber = 1.345;  // sigmas; 95 % of least squares' efficiency for normal errors
  std::vector<double> weights(observations.size());
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = 1.0 / std::pow(observations[i].seconds, 2);
  Costs costs = Squares(observations, weights).least(terms);
  for (int round = 0; round < most_rounds; ++round) {
    std::vector<double> scales, errors;
    for (const Observation& o : observations) {
      const double predicted_s = product(costs, o.amounts);
      scales.push_back(scale_of(o, predicted_s));
      errors.push_back(std::abs(o.seconds - predicted_s) / scales.back());
    }
    const double sigma = 1.4826 * quantile(errors, 0.5);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const double weight = errors[i] > huber * sigma && sigma > 0.0 ? huber * sigma / errors[i] : 1.0;
      weights[i] = weight / (scales[i] * scales[i]);
    }
    const Costs next = Squares(observations, weights).least(terms);
    bool has_settled = true;
    for (std::size_t k = 0; k < most_terms; ++k) {
      has_settled = has_settled && std::abs(next[k] - costs[k]) <= 1e-9 * std::abs(costs[k]);
    }
    costs = next;
    if (has_settled) break;
  }
  return costs;
}

// How much wider than their residuals the errors of observations are that `num_costs` were fitted to, and than a normal
// distribution one is whose sigma is known by so few of them (Student's, to the first order).
double widening(std::size_t num_observations, std::size_t num_costs) {
  const auto n = static_cast<double>(num_observations);
  const double freedom = n - static_cast<double>(num_costs);
  return std::sqrt(n / freedom) * (1.0 + (deviations_of_90 * deviations_of_90 + 1.0) / (4.0 * freedom));
}

void find_intervals(std::span<const Observation> observations, unsigned terms, const FitOptions& options,
                    TermsFit& fit) {
  const auto n = static_cast<Index>(observations.size());
  Costs costs{};
  for (std::size_t k = 0; k < most_terms; ++k) costs[k] = fit.costs[k].value;
  std::vector<double> scales, errors;
  const double wider = widening(observations.size(), static_cast<std::size_t>(std::popcount(terms)));
  for (const Observation& o : observations) {
    scales.push_back(scale_of(o, product(costs, o.amounts)));
    errors.push_back(wider * (o.seconds / scales.back() - 1.0));
  }
  std::array<std::vector<double>, most_terms> drawn;
  const Random random(options.seed, RandomStream::resample);
  std::vector<Observation> resample(observations.begin(), observations.end());
  for (Index draw = 0; draw < options.resamples; ++draw) {
    for (Index i = 0; i < n; ++i) {
      const auto from = static_cast<Index>(random.uniform(i, draw) * static_cast<double>(n));
      resample[at(i)].seconds = scales[at(i)] * std::max(1e-3, 1.0 + errors[at(from)]);
    }
    const Costs other = robust_costs(resample, terms);
    for (std::size_t k = 0; k < most_terms; ++k) drawn[k].push_back(other[k]);
  }
  for (std::size_t k = 0; k < most_terms && options.resamples > 0; ++k) {
    fit.costs[k].low = std::min(fit.costs[k].value, quantile(drawn[k], 0.05));
    fit.costs[k].high = std::max(fit.costs[k].value, quantile(drawn[k], 0.95));
  }
}

void expect_amounts(std::span<const Observation> observations) {
  for (const Observation& o : observations) {
    for (const double amount : o.amounts) {
      if (std::isfinite(amount) && amount >= 0.0) continue;
      throw InputError(fmt::format("a fit to an amount of {}", amount), "give finite amounts, 0 or more");
    }
    if (std::isfinite(o.seconds) && o.seconds > 0.0) continue;
    throw InputError(fmt::format("a fit to a time of {} s", o.seconds), "measure for longer: give more than 0");
  }
}

std::vector<double> relative_squares(std::span<const Observation> observations) {
  std::vector<double> weights;
  for (const Observation& o : observations) weights.push_back(1.0 / (o.seconds * o.seconds));
  return weights;
}

}  // namespace

double TermsFit::predicted_s(const Observation& observation) const {
  double sum = 0.0;
  for (std::size_t k = 0; k < most_terms; ++k) sum += costs[k].value * observation.amounts[k];
  return sum;
}

double size_quantile(std::span<const double> values, double share) {
  std::vector<double> sizes;
  for (const double value : values) sizes.push_back(std::abs(value));
  return quantile(std::move(sizes), share);
}

bool are_in_proportion(std::span<const Observation> observations) {
  expect_amounts(observations);
  return !Squares(observations, relative_squares(observations)).solve(terms_that_occur(observations)).has_value();
}

TermsFit fit_terms(std::span<const Observation> observations, const FitOptions& options) {
  expect_amounts(observations);
  const unsigned terms = terms_that_occur(observations);
  std::vector<std::string_view> names;
  for (std::size_t k = 0; k < most_terms; ++k) {
    if (has(terms, k)) names.push_back(options.names[k]);
  }
  if (names.empty() || observations.size() <= names.size()) {
    throw InputError(fmt::format("{} observations of {} things that cost time: '{}'", observations.size(), names.size(),
                                 fmt::join(names, "', '")),
                     "measure more cases than there are things, and one thing at least");
  }
  if (are_in_proportion(observations)) {
    throw InputError(fmt::format("the amounts of {} are in fixed proportion", fmt::join(names, ", ")),
                     "measure cases in which one is larger and the other is not");
  }
  TermsFit fit;
  const Costs costs = robust_costs(observations, terms);
  for (std::size_t k = 0; k < most_terms; ++k) fit.costs[k] = {costs[k], costs[k], costs[k]};
  for (const Observation& o : observations) fit.residuals.push_back(fit.predicted_s(o) / o.seconds - 1.0);
  fit.residual_sigma = robust_sigma(fit.residuals, names.size());
  find_intervals(observations, terms, options, fit);
  return fit;
}

double robust_sigma(std::span<const double> values, std::size_t num_costs) {
  invariant(values.size() > num_costs, "the sigma of {} values that {} costs were fitted to", values.size(), num_costs);
  return widening(values.size(), num_costs) * size_quantile(values, 0.9) / deviations_of_90;
}

double quantile(std::vector<double> values, double share) {
  invariant(!values.empty() && share >= 0.0 && share <= 1.0, "quantile {} of {} values", share, values.size());
  std::ranges::sort(values);
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return std::lerp(values[below], values[above], place - static_cast<double>(below));
}

}  // namespace conclave::sim
