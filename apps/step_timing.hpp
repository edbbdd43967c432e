// SPDX-License-Identifier: BSD-3-Clause
// Timings of whole training steps beside the work in their phases, and the rates that follow from them.
#pragma once

#include "apps/calibration_shapes.hpp"
#include "comm/mpi/communicator.hpp"
#include "runtime/sim/fit.hpp"
#include "runtime/sim/step_work.hpp"

#include <functional>

namespace conclave::apps {

/// A process's first steps, which are slower: memory is allocated, then used again.
inline constexpr Index warm_up_steps = 2;

/// How many steps are timed: as many as take so long, and at least some.
struct StepBudget {
  double seconds = 0.0;
  Index least_steps = 1;
};

/// A shape's step, timed once or in several rounds. Work, memory and the seconds of phases are a rank's, on average
/// over the ranks.
struct StepTiming {
  std::string name{};
  sim::PhaseWork work{};
  double footprint_bytes = 0.0;                          // memory that the step goes through
  std::array<double, num_phases> phases_s{};             // medians over the steps
  double step_s = 0.0;                                   // likewise
  std::vector<double> seconds{};                         // of each step
  std::array<std::vector<double>, num_phases> phases{};  // [steps] likewise
  std::vector<Index> rounds{};                           // steps of each round
  Index ranks = 1;
  /// [steps] by how much the slowest rank of a phase is above the mean: of phases in which all have as much to do.
  std::array<std::vector<double>, num_phases> gaps{};

  /// Takes in other steps of the same shape.
  void add(const StepTiming& more);
  /// Fills in the medians.
  void settle();
};

/// Trains the model on the ranks, for as many steps as the budget allows; before them some that do not count. Then,
/// where others do the same at once, all begin together: `begin` is called between. The medians are still to be
/// settled. Collective, on several ranks with a budget of steps alone.
[[nodiscard]] StepTiming time_steps(const CalibrationShape& shape, const StepBudget& budget,
                                    const comm::Communicator& ranks, const std::function<void()>& begin);

/// The rates of one number of busy ranks.
struct PhaseFit {
  Phase phase{};
  sim::TermsFit fit;
  std::vector<std::string> shapes;               // [observations]
  std::vector<sim::Observation> observations{};  // calls, flops, bytes, far bytes, elements; the seconds they took
};
struct RatesFit {
  sim::ComputeRates rates;
  std::vector<PhaseFit> phases;     // those that take time
  std::vector<double> residuals{};  // [shapes] of a step: predicted over measured seconds of all phases, less 1
  sim::Noise noise{};               // by how much ranks differ that do the same; of one rank, its phases within a round
  double drift_sigma = 0.0;         // of what a step takes in a round, over what it takes in all
  /// A sentence about each phase whose formula is off by more than a tenth in half of the shapes, with the worst ones.
  [[nodiscard]] std::vector<std::string> doubts() const;
};

/// Timings of one number of busy ranks.
struct TimedShapes {
  Index active_ranks = 1;
  Index threads = 1;
  std::vector<StepTiming> timings{};
};

/// How steps' costs depend on their memory: for the cache's size, of powers of 2, that leaves the steps' predictions
/// least far off on average.
struct CacheFit {
  double cache_bytes = 0.0;
  std::vector<RatesFit> rates{};  // in the order of what was timed
};

/// InputError, naming the phase, where the timings do not tell what it costs.
[[nodiscard]] CacheFit fit_rates(std::span<const TimedShapes> timed);

}  // namespace conclave::apps
