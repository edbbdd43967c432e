// SPDX-License-Identifier: BSD-3-Clause
// What a training step costs on a number of ranks: the work of each phase at the machine's rates, exchanges and
// reductions on its network, and what ranks wait for one another.
//
// Ranks meet at every exchange of an MoE layer, so a step is as long as the sum over its parts of the slowest rank's:
//   step = passes x (groups' own work + MoE blocks x (gate and rows + counts + forward waves + backward waves))
//          + what no backward hides of the reduction + update + gathering the updated parameters + the report
// Rows of all waves leave at once, results when there are some, over the same wires; a wave's experts compute when its
// rows are there. Backward, results leave before the weights' gradients are taken, half of the experts' time.
#pragma once

#include "experts/placement.hpp"
#include "runtime/sim/expert_loads.hpp"
#include "runtime/sim/row_exchange.hpp"
#include "runtime/sim/step_work.hpp"

namespace conclave::sim {

struct StepLog;

/// What is trained where. All must outlive the case.
struct TrainingCase {
  const Workload& workload;
  const Network& network;
  const Machine* machine = nullptr;  // null: nothing was measured; products take flops / rank_flops_per_s, and nothing
                                     // else takes time
  /// What comes to the experts of an MoE layer in a pass: one case, or several that are priced in turn and averaged.
  std::span<const ExpertLoads> loads{};
  /// Experts on ranks: one for all MoE layers, or one for each case of loads; none: even runs of them. Rows of an
  /// expert with several hosts are shared out by segments.
  std::span<const experts::Placement> placements{};
  Index scheduled_up_to = most_scheduled_ranks;  // see RowExchange
};

/// A stretch of the step's critical path. `binding` says whose it is: the slowest rank and why, or the resource that
/// an exchange waits for.
struct PathPart {
  std::string what{};
  double seconds = 0.0;
  std::string binding{};
};

struct TrainingPrice {
  double step_s = 0.0;
  double low_s = 0.0;   // 9 of 10 runs' steps are expected within: by the machine's drift and residuals, or, where it
  double high_s = 0.0;  // has none, its rates' own intervals; both step_s without a machine
  std::array<double, num_phases> phases_s{};  // mean over ranks; wait is exposed_s + imbalance_s. They add up to step_s
  double communication_s = 0.0;               // on its way between ranks, hidden or not
  double exposed_s = 0.0;                     // of it, what ranks wait for
  double imbalance_s = 0.0;                   // what ranks wait for the slowest one, noise included
  double drop_rate = 0.0;
  double checkpoint_s = 0.0;         // of one, that all ranks write; 0: nothing is known of files
  std::string exchange{};            // of the experts' rows
  std::string limit{};               // what takes longest, by name
  RankId slowest{};                  // that sets the experts' pace most, or, without experts, that of the groups
  std::vector<PathPart> path{};      // in the step's order; they add up to step_s
  std::vector<std::string> notes{};  // what the price is beyond
  [[nodiscard]] double of(Phase phase) const { return phases_s[static_cast<std::size_t>(phase)]; }
};

/// InputError where the cluster's description or the machine lacks what the price needs, with what to give.
/// InvariantError for a workload that is none, for MoE blocks without loads, and for placements of other experts, ranks
/// or cases. log: where the parts of the price are
/// kept as they are added up; empty but for its ranks, or null.
[[nodiscard]] TrainingPrice price_training_step(const TrainingCase& training, StepLog* log = nullptr);

}  // namespace conclave::sim
