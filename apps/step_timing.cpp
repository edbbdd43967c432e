// SPDX-License-Identifier: BSD-3-Clause
#include "apps/step_timing.hpp"

#include "apps/training_workload.hpp"
#include "runtime/train/trainer.hpp"

#include <numeric>

namespace conclave::apps {
namespace {

constexpr Index warm_up_steps = 2;  // memory is allocated, then used again
constexpr double doubtful = 0.1;

sim::PhaseWork work_of(const train::TrainOptions& options, const model::DataShape& shape,
                       const train::StepRecord& step) {
  const sim::Workload workload = training_workload(options, shape);
  std::vector<std::vector<double>> rows;
  for (const model::LayerStatistics& layer : step.layers) rows.emplace_back(layer.load.begin(), layer.load.end());
  return sim::step_work(workload, ExpertMap::contiguous(workload.moe.num_experts(), 1), RankId{0}, rows);
}

bool says_something(const sim::Observation& o) {
  return o.seconds > 0.0 && std::ranges::any_of(o.amounts, [](double amount) { return amount > 0.0; });
}

// Where things come in fixed proportion, the later ones answer for the earlier: calls for least.
void leave_out_proportional(std::vector<sim::Observation>& observations) {
  for (std::size_t k = 0; k + 1 < sim::most_terms && sim::are_in_proportion(observations); ++k) {
    for (sim::Observation& o : observations) o.amounts[k] = 0.0;
  }
}

std::optional<PhaseFit> fit_phase(Phase phase, const std::vector<StepTiming>& timings) {
  PhaseFit result{phase, {}, {}};
  std::vector<sim::Observation> observations;
  for (const StepTiming& t : timings) {
    const sim::Work& work = sim::of(t.work, phase);
    const sim::Observation o{{work.calls, work.flops, work.bytes}, t.phases_s[static_cast<std::size_t>(phase)]};
    if (!says_something(o)) continue;
    observations.push_back(o);
    result.shapes.push_back(t.name);
  }
  if (observations.empty()) return std::nullopt;
  leave_out_proportional(observations);
  try {
    result.fit = sim::fit_terms(observations);
  } catch (const InputError& error) {
    throw InputError(fmt::format("phase {}: {}", name_of(phase), error.what()), error.hint());
  }
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
  StepTiming timing{.name = shape.name};
  std::array<std::vector<double>, num_phases> phases;
  double spent_s = 0.0;
  while (std::ssize(timing.seconds) < budget.least_steps || spent_s < budget.seconds) {
    const train::StepRecord& step = trainer.step();
    for (std::size_t p = 0; p < num_phases; ++p) phases[p].push_back(step.phases[p].mean_s);
    timing.seconds.push_back(step.seconds);
    spent_s += step.seconds;
    if (timing.seconds.size() == 1) timing.work = work_of(shape.options, samples->shape(), step);
  }
  for (std::size_t p = 0; p < num_phases; ++p) timing.phases_s[p] = sim::quantile(phases[p], 0.5);
  timing.step_s = sim::quantile(timing.seconds, 0.5);
  return timing;
}

RatesFit fit_rates(const std::vector<StepTiming>& timings, Index active_ranks, Index threads) {
  RatesFit result{.rates = {active_ranks, threads, {}}, .phases = {}};
  for (const auto& entry : enum_names(Phase{})) {
    if (entry.value == Phase::wait) continue;
    std::optional<PhaseFit> phase = fit_phase(entry.value, timings);
    if (!phase) continue;
    const auto& costs = phase->fit.costs;
    result.rates.phases[static_cast<std::size_t>(entry.value)] = {costs[0], costs[1], costs[2]};
    result.phases.push_back(std::move(*phase));
  }
  result.noise_sigma = noise_of(timings);
  return result;
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
