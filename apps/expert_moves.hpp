// SPDX-License-Identifier: BSD-3-Clause
// When a run's experts are better off on other ranks: by what the simulator says of its own steps.
#pragma once

#include "apps/even_sample.hpp"
#include "experts/placement.hpp"
#include "runtime/sim/training_price.hpp"
#include "runtime/train/metrics.hpp"
#include "runtime/train/options.hpp"

#include <optional>
#include <string>

namespace conclave::apps {

/// A training on its ranks, as the simulator is asked about it.
struct PricedRun {
  sim::Workload workload;  // with the waves that the runtime cuts
  sim::Network network;
  sim::Machine machine;
  bool has_rates = true;  // false: the machine is messages alone, and phases take what the run's own steps took
  gating::RoutingSizes sizes{};
};

/// Other places for experts, layer by layer, and what a step takes.
struct ExpertMove {
  std::vector<ExpertMap> placement{};  // [MoE layers]
  double before = 1.0;                 // the fullest rank's load over the mean, all layers together
  double after = 1.0;
  Index replicas = 0;       // copies of experts, all layers together
  bool is_other = false;    // than where experts are
  Index steps = 0;          // that were timed
  double measured_s = 0.0;  // a step: the median of these
  double priced_s = 0.0;    // by the simulator, where experts are
  double then_s = 0.0;      // by the simulator, on the new places
  double gain_s = 0.0;      // of a step, as far as the simulator is believed
};

/// What it brings, in a clause, and how far the simulator is off.
[[nodiscard]] std::string text_of(const ExpertMove& move);

/// How far off the simulator's step may be before only half of a gain is believed.
inline constexpr double most_error = 0.3;
/// How much of a predicted gain is believed. A simulator whose step is too long is scaled down to the measured one, one
/// whose step is too short is not scaled up; of one that is off by more than most_error half is believed. A loss is a
/// loss. All of a step [s].
[[nodiscard]] double believed_gain_s(double measured_s, double priced_s, double then_s);

/// Steps that tell how long one takes.
inline constexpr Index least_timed_steps = 3;

/// Takes in a run's steps, and weighs places for its experts by their price. The same steps give the same proposal, but
/// ranks measure different times: one rank's proposal is for all.
class ExpertMoves {
 public:
  /// Experts begin in even runs. options must outlive it.
  ExpertMoves(const train::TrainOptions& options, PricedRun run);

  /// A process, or a trainer, begins: its first steps are slower, and their times are left out.
  void begin() { warming_ = 0; }
  /// Takes in a step, with its routing. Skipped ones say nothing.
  void add(const train::StepRecord& step);
  /// The median of the timed steps since experts were last moved; nothing if there are too few.
  [[nodiscard]] std::optional<double> step_s() const;
  [[nodiscard]] Index timed_steps() const { return times_.count(); }
  /// What is best for the loads since then: of each layer the candidate (placement_candidates.hpp) with the least
  /// price; where experts are, if none has less. Nothing if too few steps were timed.
  [[nodiscard]] std::optional<ExpertMove> proposal() const;
  /// The experts have been moved so: steps are taken in anew.
  void made(const ExpertMove& move);

 private:
  struct StepTime {
    double seconds = 0.0;
    std::array<double, num_phases> phases_s{};  // mean over ranks
  };
  using Placements = std::vector<experts::Placement>;  // [MoE layers]

  [[nodiscard]] StepTime median() const;
  [[nodiscard]] std::vector<sim::ExpertLoads> cases() const;
  [[nodiscard]] sim::TrainingCase case_of(const sim::Machine& machine, std::span<const sim::ExpertLoads> loads,
                                          const Placements& placements) const;
  [[nodiscard]] double price_s(const sim::Machine& machine, std::span<const sim::ExpertLoads> cases,
                               const Placements& placements) const;
  [[nodiscard]] experts::Placement best_of_layer(const sim::Machine& machine, std::span<const sim::ExpertLoads> loads,
                                                 const experts::Placement& present) const;
  [[nodiscard]] double fullest(std::span<const sim::ExpertLoads> cases, const Placements& placements) const;

  const train::TrainOptions& options_;
  PricedRun run_;
  Placements placement_;
  EvenSample<gating::RoutingStep> routing_;
  EvenSample<StepTime> times_;
  Index warming_ = 0;  // steps since the beginning
};

}  // namespace conclave::apps
