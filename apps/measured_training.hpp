// SPDX-License-Identifier: BSD-3-Clause
// What a run's log tells of its steps: how long each phase took, and how many rows came to each expert.
#pragma once

#include "apps/training_needs.hpp"
#include "gating/routing_trace.hpp"
#include "runtime/core/trace.hpp"

namespace conclave::apps {

struct MeasuredTraining {
  std::string folder;
  MeasuredRun run;  // steps: those that all medians here are over
  Index nodes = 1;
  std::string cpu;
  std::array<double, num_phases> phases_s{};  // medians over the steps of the mean over ranks
  double deviation_s = 0.0;                   // a standard deviation of the median step
  std::vector<gating::RoutingStep> rows{};    // of up to most_measured_rows evenly chosen steps; see layers
  Index layers = 0;                           // MoE layers
  Index experts = 0;                          // of each

  /// Where tokens went, sources not told apart, for a run whose groups are these.
  [[nodiscard]] gating::RoutingTrace trace(Index groups, Index group_tokens) const;
};
inline constexpr std::size_t most_measured_rows = 64;

/// From run.h5 in the folder of a run: steps but for the first tenth, the first of each process that went on with the
/// run (warm_up_steps of apps/step_timing.hpp; where exchanges were tried, those until the last was decided), if there
/// are others, and those that were skipped. What an expert kept
/// is its claims, but that the fullest ones lost what the layer dropped. InputError where there is no such file, no
/// step in it, or tables that no run writes.
[[nodiscard]] MeasuredTraining measured_training(const std::filesystem::path& folder);

}  // namespace conclave::apps
