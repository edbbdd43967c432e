// SPDX-License-Identifier: BSD-3-Clause
// What a recorded routing would have been with other slots, on other ranks, and with other placements of experts:
// counts, which are facts of what was recorded, apart from prices, which are predictions.
#pragma once

#include "apps/training_simulation.hpp"
#include "gating/routing_trace.hpp"

namespace conclave::apps {

/// Other slots of each expert. Counts are means over the trace's steps, all MoE layers together.
struct ReplayedSlots {
  double capacity_factor = 0.0;
  Index slots = 0;
  double claimed = 0.0;
  double least_dropped = 0.0;
  double most_dropped = 0.0;  // the same where the trace leaves nothing open
};

/// Where experts are.
struct ReplayedPlacement {
  Index ranks = 0;
  std::string name{};  // "contiguous", "balanced", "balanced, 4 replicas"
  experts::Placement placement{};
  double mean_over = 0.0;  // the fullest rank's rows over the mean, on average over layers and steps
  double most_over = 0.0;  // in the worst one
  double to_ranks = 0.0;   // rows a step that go to another rank, and to another node
  double to_nodes = 0.0;
  bool is_exact = false;  // of to_ranks and to_nodes: every class of sources is of one rank, every expert on one
};

/// Slots by the training's own rule, of the trace's groups, with this factor. InputError for routers and overflow
/// whose drops are no matter of slots alone.
[[nodiscard]] ReplayedSlots replay_slots(const gating::RoutingTrace& trace, const train::TrainOptions& options,
                                         double capacity_factor);

/// The trace with what those slots would have kept, claims lying as evenly as they may.
[[nodiscard]] gating::RoutingTrace trace_with_slots(const gating::RoutingTrace& trace,
                                                    const train::TrainOptions& options, Index slots);

/// Steps of a trace: the first half and the rest; both all where there is only one.
struct TraceHalves {
  gating::RoutingTrace first;
  gating::RoutingTrace rest;
};
[[nodiscard]] TraceHalves halves_of(const gating::RoutingTrace& trace);

/// Placements by the rows that `known` kept, all layers together: contiguous, balanced, and one for each number of
/// replicas. Slots of a rank are as many as even runs take, and as replicas need.
[[nodiscard]] std::vector<ReplayedPlacement> placements_for(const gating::RoutingTrace& known, Index ranks,
                                                            const std::vector<Index>& replicas);

/// Fills in what `told` says of a placement, ranks filling nodes of so many.
void count_rows(const gating::RoutingTrace& told, Index ranks_per_node, ReplayedPlacement& placement);

/// Rows that ranks send to experts.
struct RankTraffic {
  Index ranks = 0;
  std::vector<double> rows{};  // [from, to], of a step, mean over steps, all MoE layers together
  bool is_exact = false;       // every class of sources is of one rank
};

/// By what the trace kept, experts in even runs.
[[nodiscard]] RankTraffic traffic_between(const gating::RoutingTrace& told, Index ranks);

}  // namespace conclave::apps
