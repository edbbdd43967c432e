// SPDX-License-Identifier: BSD-3-Clause
#include "apps/expert_moves.hpp"

#include "apps/bench_report.hpp"
#include "apps/placement_candidates.hpp"
#include "apps/routing_source.hpp"
#include "apps/run_rates.hpp"
#include "apps/step_timing.hpp"
#include "runtime/sim/fit.hpp"
#include "runtime/sim/layer_price.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::apps {
namespace {

using experts::Placement;
using sim::ExpertLoads;

constexpr Index most_routings = 16;  // that are kept: a step's may be a megabyte
constexpr Index most_times = 1024;
constexpr double least_gain = 1e-6;  // of a step: less is rounding

double median_of(std::vector<double> values) { return sim::quantile(std::move(values), 0.5); }

// On average over the cases.
ExpertLoads mean_of(std::span<const ExpertLoads> cases) {
  ExpertLoads mean = cases.front();
  const double share = 1.0 / static_cast<double>(cases.size());
  for (const ExpertLoads& loads : cases.subspan(1)) {
    mean.claimed += loads.claimed;
    for (std::size_t e = 0; e < mean.rows.size(); ++e) mean.rows[e] += loads.rows[e];
    for (std::size_t c = 0; c < mean.by_source.size(); ++c) {
      for (std::size_t e = 0; e < mean.rows.size(); ++e) mean.by_source[c][e] += loads.by_source[c][e];
    }
  }
  mean.claimed *= share;
  for (sim::Moments& rows : mean.rows) rows = {share * rows.mean, 0.0, 0.0};
  for (std::vector<double>& of_class : mean.by_source) {
    for (double& rows : of_class) rows *= share;
  }
  return mean;
}

// Rows times parameters.
double work_of(const sim::Workload& w, const ExpertLoads& loads, std::size_t expert) {
  return loads.rows[expert].mean * static_cast<double>(w.moe.experts[expert].parameters);
}

// What each rank has to do for an expert's rows, shared out by segments as the runtime does.
std::vector<double> loads_of_ranks(const sim::Workload& w, const ExpertLoads& loads, const Placement& placement) {
  std::vector<double> of_rank(at(placement.num_ranks));
  for (std::size_t e = 0; e < loads.rows.size(); ++e) {
    const std::vector<RankId>& hosts = placement.hosts[e];
    const double rows = loads.rows[e].mean;
    if (!(rows > 0.0)) continue;
    const std::vector<experts::HostShare> shares = experts::host_shares(rows, std::ssize(hosts));
    for (std::size_t h = 0; h < hosts.size(); ++h) {
      of_rank[at(hosts[h].value())] += work_of(w, loads, e) * shares[h].rows / rows;
    }
  }
  return of_rank;
}

// Each layer's for all of its cases, of which all layers have as many.
std::vector<Placement> for_cases(const std::vector<Placement>& of_layers, std::size_t num_cases) {
  std::vector<Placement> result;
  const std::size_t of_layer = num_cases / of_layers.size();
  for (const Placement& placement : of_layers) result.insert(result.end(), of_layer, placement);
  return result;
}

}  // namespace

std::string text_of(const ExpertMove& move) {
  const std::string step =
      fmt::format("a step takes {} ({} steps), by the simulator {} ({:+.0f} %)", seconds_text(move.measured_s),
                  move.steps, seconds_text(move.priced_s), 100.0 * (move.priced_s / move.measured_s - 1.0));
  if (!move.is_other) return fmt::format("{}, and nowhere else less", step);
  const std::string copies =
      move.replicas == 0 ? "" : fmt::format(", with {} replica{}", move.replicas, move.replicas == 1 ? "" : "s");
  return fmt::format(
      "the fullest rank had {:.2f} times the mean load and will have {:.2f}{}: {}, then {}; about {} less", move.before,
      move.after, copies, step, seconds_text(move.then_s), seconds_text(move.gain_s));
}

double believed_gain_s(double measured_s, double priced_s, double then_s) {
  const double gain_s = priced_s - then_s;
  if (!(gain_s > 0.0 && priced_s > 0.0)) return std::min(gain_s, 0.0);
  const double times = measured_s / priced_s;
  const double most_s = gain_s * std::min(1.0, times);
  return std::abs(1.0 / times - 1.0) > most_error ? 0.5 * most_s : most_s;
}

ExpertMoves::ExpertMoves(const train::TrainOptions& o, PricedRun run)
    : options_(o),
      run_(std::move(run)),
      placement_(at(run_.sizes.layers),
                 experts::contiguous_placement(run_.workload.moe.num_experts(), run_.network.num_ranks())),
      routing_(most_routings),
      times_(most_times) {}

void ExpertMoves::add(const train::StepRecord& step) {
  if (!step.skipped.empty()) return;
  invariant(step.routing.has_value(), "a step without its routing");
  routing_.add(*step.routing);
  if (warming_++ < warm_up_steps) return;
  StepTime time{.seconds = step.seconds};
  for (std::size_t p = 0; p < num_phases; ++p) time.phases_s[p] = step.phases[p].mean_s;
  times_.add(time);
}

std::optional<double> ExpertMoves::step_s() const {
  if (times_.count() < least_timed_steps) return std::nullopt;
  return median().seconds;
}

ExpertMoves::StepTime ExpertMoves::median() const {
  const auto over_steps = [&](auto value_of) {
    std::vector<double> values;
    for (const StepTime& time : times_.values()) values.push_back(value_of(time));
    return median_of(std::move(values));
  };
  StepTime result{.seconds = over_steps([](const StepTime& time) { return time.seconds; })};
  for (std::size_t p = 0; p < num_phases; ++p) {
    result.phases_s[p] = over_steps([p](const StepTime& time) { return time.phases_s[p]; });
  }
  return result;
}

// Layer by layer so many cases, each the mean of neighbouring steps, that all together are no more than the simulator
// takes of a trace.
std::vector<ExpertLoads> ExpertMoves::cases() const {
  const std::vector<gating::RoutingStep>& steps = routing_.values();
  const Index layers = run_.sizes.layers;
  const Index of_layer = std::clamp<Index>(most_traced_cases / layers, 1, std::ssize(steps));
  std::vector<ExpertLoads> cases;
  for (Index layer = 0; layer < layers; ++layer) {
    for (Index c = 0; c < of_layer; ++c) {
      std::vector<ExpertLoads> loads;
      const Range neighbours = even_share(std::ssize(steps), of_layer, c);
      for (Index s = neighbours.begin; s < neighbours.end; ++s) {
        loads.push_back(loads_of_step(run_.sizes, steps[at(s)], layer, run_.workload));
      }
      cases.push_back(mean_of(loads));
    }
  }
  return cases;
}

sim::TrainingCase ExpertMoves::case_of(const sim::Machine& machine, std::span<const ExpertLoads> loads,
                                       const Placements& placements) const {
  return {run_.workload, run_.network, &machine, loads, placements};
}

double ExpertMoves::price_s(const sim::Machine& machine, std::span<const ExpertLoads> cases,
                            const Placements& placements) const {
  return sim::price_training_step(case_of(machine, cases, for_cases(placements, cases.size()))).step_s;
}

// As if all layers were like this one.
Placement ExpertMoves::best_of_layer(const sim::Machine& machine, std::span<const ExpertLoads> cases,
                                     const Placement& present) const {
  const sim::Workload& w = run_.workload;
  const ExpertLoads mean = mean_of(cases);
  std::vector<double> loads;
  for (std::size_t e = 0; e < mean.rows.size(); ++e) loads.push_back(work_of(w, mean, e));
  const sim::TrainingCase known = case_of(machine, cases, placement_);
  const Index classes = std::ssize(mean.by_source);
  std::vector<std::vector<double>> shares(at(present.num_ranks));  // [ranks][classes]
  for (Index rank = 0; rank < present.num_ranks; ++rank) {
    for (Index c = 0; c < classes; ++c) {
      shares[at(rank)].push_back(sim::share_of_class(known, RankId{rank}, c, classes));
    }
  }
  const auto rows = [&](RankId rank, ExpertId e) {
    double sum = 0.0;
    for (std::size_t c = 0; c < mean.by_source.size(); ++c) {
      sum += shares[at(rank.value())][c] * mean.by_source[c][at(e.value())];
    }
    return sum;
  };
  Placement best = present;
  double best_s = price_s(machine, cases, {present});
  for (Placement& candidate :
       candidate_placements(loads, options_.placement_replicas, present, run_.network.cluster().ranks_per_node, rows)) {
    const double step_s = price_s(machine, cases, {candidate});
    if (!(step_s < best_s * (1.0 - least_gain))) continue;
    best_s = step_s;
    best = std::move(candidate);
  }
  return best;
}

double ExpertMoves::fullest(std::span<const ExpertLoads> cases, const Placements& placements) const {
  double most = 0.0;
  double mean = 0.0;
  const std::size_t of_layer = cases.size() / placements.size();
  for (std::size_t c = 0; c < cases.size(); ++c) {
    const std::vector<double> loads = loads_of_ranks(run_.workload, cases[c], placements[c / of_layer]);
    most += std::ranges::max(loads);
    for (const double load : loads) mean += load / static_cast<double>(loads.size());
  }
  return mean > 0.0 ? most / mean : 1.0;
}

std::optional<ExpertMove> ExpertMoves::proposal() const {
  if (times_.count() < least_timed_steps || routing_.count() == 0) return std::nullopt;
  const StepTime measured = median();
  const std::vector<ExpertLoads> loads = cases();
  const std::size_t of_layer = loads.size() / placement_.size();
  const Placements now = for_cases(placement_, loads.size());
  const sim::Machine machine =
      run_.has_rates ? run_.machine
                     : machine_of_phases(case_of(run_.machine, loads, now), measured.phases_s, run_.machine);
  ExpertMove move{.steps = times_.count(), .measured_s = measured.seconds};
  Placements best;
  for (std::size_t l = 0; l < placement_.size(); ++l) {
    best.push_back(best_of_layer(machine, std::span(loads).subspan(l * of_layer, of_layer), placement_[l]));
    move.is_other = move.is_other || best.back().hosts != placement_[l].hosts;
    move.replicas += best.back().num_replicas();
    move.placement.push_back(best.back().map());
  }
  move.before = fullest(loads, placement_);
  move.after = fullest(loads, best);
  move.priced_s = price_s(machine, loads, placement_);
  move.then_s = move.is_other ? price_s(machine, loads, best) : move.priced_s;
  move.gain_s = believed_gain_s(measured.seconds, move.priced_s, move.then_s);
  return move;
}

void ExpertMoves::made(const ExpertMove& move) {
  for (std::size_t l = 0; l < placement_.size(); ++l) {
    for (ExpertId e; e < ExpertId{move.placement[l].num_experts()}; ++e) {
      placement_[l].hosts[at(e.value())] = move.placement[l].hosts(e);
    }
  }
  routing_.clear();
  times_.clear();
  begin();
}

}  // namespace conclave::apps
