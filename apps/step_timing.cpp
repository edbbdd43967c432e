// SPDX-License-Identifier: BSD-3-Clause
#include "apps/step_timing.hpp"

#include "apps/training_workload.hpp"
#include "runtime/train/trainer.hpp"

#include <numeric>

namespace conclave::apps {
namespace {

constexpr Index warm_up_steps = 2;  // memory is allocated, then used again
constexpr double doubtful = 0.1;

constexpr double least_cache_bytes = 4.0 * 1048576.0;
constexpr double most_cache_bytes = 4096.0 * 1048576.0;

sim::PhaseWork work_of(const sim::Workload& workload, const train::StepRecord& step) {
  std::vector<std::vector<double>> rows;
  for (const model::LayerStatistics& layer : step.layers) rows.emplace_back(layer.load.begin(), layer.load.end());
  return sim::step_work(workload, ExpertMap::contiguous(workload.moe.num_experts(), 1), RankId{0}, rows);
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

double noise_of(const std::vector<StepTiming>& timings) {
  std::vector<double> deviations;
  for (const StepTiming& t : timings) {
    for (const double seconds : t.seconds) deviations.push_back(seconds / t.step_s - 1.0);
  }
  return sim::robust_sigma(deviations, 0);
}

}  // namespace

StepTiming time_steps(const CalibrationShape& shape, const StepBudget& budget, const comm::Communicator& rank,
                      const std::function<void()>& begin) {
  const auto samples = train::make_samples(shape.options);
  train::Trainer trainer(shape.options, *samples, rank);
  for (Index i = 0; i < warm_up_steps; ++i) trainer.step();
  begin();
  const sim::Workload workload = training_workload(shape.options, samples->shape());
  StepTiming timing{.name = shape.name, .footprint_bytes = sim::step_footprint(workload, 1)};
  double spent_s = 0.0;
  while (std::ssize(timing.seconds) < budget.least_steps || spent_s < budget.seconds) {
    const train::StepRecord& step = trainer.step();
    for (std::size_t p = 0; p < num_phases; ++p) timing.phases[p].push_back(step.phases[p].mean_s);
    timing.seconds.push_back(step.seconds);
    spent_s += step.seconds;
    if (timing.seconds.size() == 1) timing.work = work_of(workload, step);
  }
  return timing;
}

void StepTiming::add(const StepTiming& more) {
  seconds.insert(seconds.end(), more.seconds.begin(), more.seconds.end());
  for (std::size_t p = 0; p < num_phases; ++p) {
    phases[p].insert(phases[p].end(), more.phases[p].begin(), more.phases[p].end());
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
  result.noise_sigma = noise_of(timed.timings);
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
