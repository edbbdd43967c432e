// SPDX-License-Identifier: BSD-3-Clause
#include "apps/step_timing.hpp"

#include "apps/training_workload.hpp"
#include "runtime/sim/expected_max.hpp"
#include "runtime/train/trainer.hpp"

#include <cmath>
#include <numeric>

namespace conclave::apps {
namespace {

constexpr double doubtful = 0.1;

constexpr double least_cache_bytes = 4.0 * 1048576.0;
constexpr double most_cache_bytes = 4096.0 * 1048576.0;

sim::PhaseWork work_of(const sim::Workload& workload, Index num_ranks, const train::StepRecord& step) {
  std::vector<std::vector<double>> rows;
  for (const model::LayerStatistics& layer : step.layers) rows.emplace_back(layer.load.begin(), layer.load.end());
  const ExpertMap map = ExpertMap::contiguous(workload.moe.num_experts(), num_ranks);
  sim::PhaseWork work{};
  for (RankId rank; rank < RankId{num_ranks}; ++rank) work += sim::step_work(workload, map, rank, rows);
  for (sim::Work& of_phase : work) of_phase = of_phase.scaled(1.0 / static_cast<double>(num_ranks));
  return work;
}

bool says_something(const sim::Observation& o) {
  return o.seconds > 0.0 && std::ranges::any_of(o.amounts, [](double amount) { return amount > 0.0; });
}

// Where things come in fixed proportion, the others answer for these: far bytes, elements, calls, flops.
void leave_out_proportional(std::vector<sim::Observation>& observations) {
  for (const std::size_t k : {3, 4, 0, 1}) {
    if (!sim::are_in_proportion(observations)) return;
    for (sim::Observation& o : observations) o.amounts[k] = 0.0;
  }
}

std::optional<PhaseFit> fit_phase(Phase phase, const std::vector<StepTiming>& timings, double cache_bytes,
                                  const sim::FitOptions& options) {
  PhaseFit result{phase, {}, {}, {}};
  std::vector<sim::Observation> observations;
  for (const StepTiming& t : timings) {
    const sim::Work& work = sim::of(t.work, phase);
    const double far = work.bytes * sim::far_share(t.footprint_bytes, cache_bytes);
    const sim::Observation o{{work.calls, work.flops, work.bytes, far, work.elements},
                             t.phases_s[static_cast<std::size_t>(phase)]};
    if (!says_something(o)) continue;
    observations.push_back(o);
    result.shapes.push_back(t.name);
  }
  if (observations.empty()) return std::nullopt;
  leave_out_proportional(observations);
  try {
    result.fit = sim::fit_terms(observations, options);
  } catch (const InputError& error) {
    throw InputError(fmt::format("phase {}: {}", name_of(phase), error.what()), error.hint());
  }
  result.observations = std::move(observations);
  return result;
}

// Calls body(seconds, their median) for each round of a timing.
template <class Body>
void for_each_round(const StepTiming& timing, const std::vector<double>& seconds, const Body& body) {
  auto first = seconds.begin();
  for (const Index steps : timing.rounds) {
    const std::vector<double> round(first, first + steps);
    first += steps;
    const double median = sim::quantile(round, 0.5);
    if (median > 0.0) body(round, median);
  }
}

// Phases in which ranks with as many groups have the same to do.
constexpr std::array even_phases{Phase::attention, Phase::dense, Phase::head};

double deviation_within_rounds(const StepTiming& timing, const std::vector<double>& seconds) {
  std::vector<double> deviations;
  for_each_round(timing, seconds, [&](const std::vector<double>& round, double median) {
    for (const double s : round) deviations.push_back(s - median);
  });
  return std::ssize(deviations) <= std::ssize(timing.rounds) ? 0.0
                                                             : sim::robust_sigma(deviations, timing.rounds.size());
}

// Waits add up over the places where ranks meet, so it is their mean that counts, and most of it is in the longer ones.
// But steps are told by medians: what happens in one of 20 or fewer counts no more than the longest of the others.
double usual_mean(std::vector<double> values) {
  constexpr double usual = 0.95;
  const double most = sim::quantile(values, usual);
  double sum = 0.0;
  for (const double value : values) sum += std::min(value, most);
  return sum / static_cast<double>(values.size());
}

sim::Noise noise_of(const std::vector<StepTiming>& timings) {
  constexpr double least_s = 2e-5;  // clocks and scopes take their time too
  constexpr std::size_t costs = 2;
  std::vector<sim::Observation> variances;  // over the mean's square: 1 sigma^2 + 1 / mean jitter
  for (const StepTiming& t : timings) {
    for (const Phase phase : even_phases) {
      const auto p = static_cast<std::size_t>(phase);
      const double mean_s = t.phases_s[p];
      if (mean_s < least_s || t.phases[p].empty()) continue;
      double deviation_s = 0.0;
      if (t.ranks == 1) {
        deviation_s = deviation_within_rounds(t, t.phases[p]);
      } else if (!t.gaps[p].empty()) {
        deviation_s = usual_mean(t.gaps[p]) / sim::deviations_of_largest(t.ranks);
      }
      const double share = deviation_s / mean_s;
      if (share > 0.0) variances.push_back({{1.0, 1.0 / mean_s}, share * share});
    }
  }
  if (variances.size() <= costs) return {};
  sim::FitOptions quick;
  quick.resamples = 0;
  const sim::TermsFit fit = sim::fit_terms(variances, quick);
  return {std::sqrt(fit.costs[0].value), fit.costs[1].value};
}

// As the mean of the rounds is off too, a single one is off from it by less than from another.
double drift_of(const std::vector<StepTiming>& timings) {
  std::vector<double> deviations;
  double rounds = 1.0;
  for (const StepTiming& t : timings) {
    rounds = std::max(rounds, static_cast<double>(t.rounds.size()));
    for_each_round(t, t.seconds,
                   [&](const std::vector<double>&, double median) { deviations.push_back(median / t.step_s - 1.0); });
  }
  if (rounds < 2.0 || deviations.empty()) return 0.0;
  return std::sqrt((rounds + 1.0) / (rounds - 1.0)) * sim::robust_sigma(deviations, 0);
}

}  // namespace

StepTiming time_steps(const CalibrationShape& shape, const StepBudget& budget, const comm::Communicator& ranks,
                      const std::function<void()>& begin) {
  const auto samples = train::make_samples(shape.options);
  train::Trainer trainer(shape.options, *samples, ranks);
  for (Index i = 0; i < warm_up_steps; ++i) trainer.step();
  begin();
  const sim::Workload workload = training_workload(shape.options, samples->shape());
  StepTiming timing{
      .name = shape.name, .footprint_bytes = sim::step_footprint(workload, ranks.size()), .ranks = ranks.size()};
  const bool is_even = workload.groups_in_pass() % ranks.size() == 0;
  double spent_s = 0.0;
  while (std::ssize(timing.seconds) < budget.least_steps || spent_s < budget.seconds) {
    const train::StepRecord& step = trainer.step();
    for (std::size_t p = 0; p < num_phases; ++p) {
      timing.phases[p].push_back(step.phases[p].mean_s);
      if (is_even && ranks.size() > 1) timing.gaps[p].push_back(step.phases[p].max_s - step.phases[p].mean_s);
    }
    timing.seconds.push_back(step.seconds);
    spent_s += step.seconds;
    if (timing.seconds.size() == 1) timing.work = work_of(workload, ranks.size(), step);
  }
  timing.rounds = {std::ssize(timing.seconds)};
  return timing;
}

void StepTiming::add(const StepTiming& more) {
  rounds.insert(rounds.end(), more.rounds.begin(), more.rounds.end());
  seconds.insert(seconds.end(), more.seconds.begin(), more.seconds.end());
  for (std::size_t p = 0; p < num_phases; ++p) {
    phases[p].insert(phases[p].end(), more.phases[p].begin(), more.phases[p].end());
    gaps[p].insert(gaps[p].end(), more.gaps[p].begin(), more.gaps[p].end());
  }
}

void StepTiming::settle() {
  for (std::size_t p = 0; p < num_phases; ++p) phases_s[p] = sim::quantile(phases[p], 0.5);
  step_s = sim::quantile(seconds, 0.5);
}

namespace {

RatesFit fit_with_cache(const TimedShapes& timed, double cache_bytes, const sim::FitOptions& options) {
  RatesFit result{.rates = {timed.active_ranks, timed.threads, {}}, .phases = {}};
  std::map<std::string, double> predicted_s, measured_s;  // of the phases that have a rate
  for (const auto& entry : enum_names(Phase{})) {
    if (entry.value == Phase::wait) continue;
    std::optional<PhaseFit> phase = fit_phase(entry.value, timed.timings, cache_bytes, options);
    if (!phase) continue;
    const auto& costs = phase->fit.costs;
    result.rates.phases[static_cast<std::size_t>(entry.value)] = {costs[0], costs[1], costs[2], costs[3], costs[4]};
    for (std::size_t i = 0; i < phase->shapes.size(); ++i) {
      predicted_s[phase->shapes[i]] += phase->fit.predicted_s(phase->observations[i]);
      measured_s[phase->shapes[i]] += phase->observations[i].seconds;
    }
    result.phases.push_back(std::move(*phase));
  }
  for (const StepTiming& t : timed.timings) {
    result.residuals.push_back(predicted_s.at(t.name) / measured_s.at(t.name) - 1.0);
  }
  result.noise = noise_of(timed.timings);
  result.drift_sigma = drift_of(timed.timings);
  return result;
}

}  // namespace

CacheFit fit_rates(std::span<const TimedShapes> timed) {
  sim::FitOptions quick;
  quick.resamples = 0;
  CacheFit best;
  double least_error = std::numeric_limits<double>::infinity();
  for (double bytes = least_cache_bytes; bytes <= most_cache_bytes; bytes *= 2.0) {
    double error = 0.0;
    for (const TimedShapes& t : timed) {
      for (const double residual : fit_with_cache(t, bytes, quick).residuals) error += std::abs(residual);
    }
    if (error >= least_error) continue;
    least_error = error;
    best.cache_bytes = bytes;
  }
  for (const TimedShapes& t : timed) best.rates.push_back(fit_with_cache(t, best.cache_bytes, {}));
  return best;
}

std::vector<std::string> RatesFit::doubts() const {
  std::vector<std::string> sentences;
  for (const PhaseFit& p : phases) {
    const double median = p.fit.median_residual();
    if (median <= doubtful) continue;
    std::vector<std::size_t> order(p.shapes.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::sort(order, std::greater{}, [&](std::size_t i) { return std::abs(p.fit.residuals[i]); });
    std::vector<std::string> worst;
    for (std::size_t i = 0; i < std::min<std::size_t>(3, order.size()); ++i) {
      worst.push_back(fmt::format("{} {:+.0f} %", p.shapes[order[i]], 100.0 * p.fit.residuals[order[i]]));
    }
    sentences.push_back(fmt::format("{} is off by {:.0f} % in the median with {} busy ranks; most in {}",
                                    name_of(p.phase), 100.0 * median, rates.active_ranks, fmt::join(worst, ", ")));
  }
  return sentences;
}

}  // namespace conclave::apps
