// SPDX-License-Identifier: BSD-3-Clause
// What the price of a training step is made of, kept while it is put together: the step as rows of time.
#pragma once

#include "runtime/sim/step_work.hpp"

#include <vector>

namespace conclave::sim {

/// Of a group's and of an expert's work, forward; backward takes the rest.
inline constexpr double forward_share = 1.0 / 3.0;

struct LoggedWork {
  double seconds = 0.0;
  double flops = 0.0;
  double rows = 0.0;  // of experts
  [[nodiscard]] LoggedWork scaled(double times) const { return {times * seconds, times * flops, times * rows}; }
  LoggedWork& operator+=(const LoggedWork& other);
};
/// [num_phases] times with whatever the price takes them.
using LoggedPhases = std::array<LoggedWork, num_phases>;
[[nodiscard]] inline LoggedWork& of(LoggedPhases& work, Phase phase) { return work[static_cast<std::size_t>(phase)]; }
[[nodiscard]] inline const LoggedWork& of(const LoggedPhases& work, Phase phase) {
  return work[static_cast<std::size_t>(phase)];
}

/// One rank's own work, or what stands for several ranks'.
struct LoggedRow {
  LoggedPhases outside{};      // of a pass, what belongs to no block: data, embedding, head, other
  LoggedPhases dense_block{};  // attention and dense of one block of a pass, forward and backward
  LoggedPhases moe_block{};    // the same of a block with experts
  LoggedPhases layer{};        // its gate, dispatch, experts and combine, on average over the cases of loads
  LoggedWork reduce{};         // of a pass
  LoggedWork optimizer{};      // of the step
};

/// Rows of one wave that are exchanged, on average over the cases of loads.
struct LoggedTransfer {
  double seconds = 0.0;
  double rows = 0.0;  // of all ranks, those that stay where they are included
  double bytes = 0.0;
};

struct StepLog {
  explicit StepLog(std::vector<RankId> which) : ranks(std::move(which)), of_rank(ranks.size()) {}

  std::vector<RankId> ranks;       // whose own rows are kept
  LoggedRow slowest;               // of each part the rank that sets the pace: the step's critical path
  LoggedRow mean;                  // over all ranks, on hosts as fast as they should be
  std::vector<LoggedRow> of_rank;  // [ranks], on their hosts, with the rows that they get on average

  // One MoE layer of a pass, on average over the cases of loads. Copies of x, results, their gradients, and those of x.
  double counts_s = 0.0;
  LoggedTransfer dispatch, combine, d_combine, d_dispatch;
  double forward_s = 0.0;       // from the first row that leaves to the last result
  double backward_s = 0.0;      // the same
  double forward_tail_s = 0.0;  // of them, after the slowest rank's experts
  double backward_tail_s = 0.0;

  // Of a pass.
  struct Reduction {
    double begin_s = 0.0;
    double end_s = 0.0;
  };
  std::vector<Reduction> reductions;  // of runs of parameters, in order; the last ends at 0
  double exposed_reduction_s = 0.0;
  // Of the step.
  double gathering_s = 0.0;
  double replicas_s = 0.0;  // gradients of experts' copies to their homes, and values from there
  double small_messages_s = 0.0;
  double noise_s = 0.0;
};

struct TrainingCase;
struct LayerPrice;
struct ExpertLoads;
struct Moments;
class RankSpeed;

/// Adds what ranks' own groups take; slowest: the rank that takes longest.
void log_groups(const TrainingCase& training, const RankSpeed& speed, RankId slowest, StepLog& log);

/// Both [num_ranks].
struct LoggedExperts {
  std::span<const Moments> seconds;
  std::span<const Moments> rows;
};
/// Adds an MoE layer, as one of the training's cases of loads, but for its transfers.
void log_layer(const TrainingCase& training, const RankSpeed& speed, const ExpertLoads& loads,
               const LoggedExperts& experts, const LayerPrice& price, StepLog& log);
/// Adds an exchange of a wave's rows, as one of the training's cases of loads.
void log_transfer(const TrainingCase& training, const ExpertLoads& loads, double seconds, double row_bytes,
                  LoggedTransfer& sum);

/// The ranks that take longest.
struct SlowestOfUpdate {
  RankId reduce;
  RankId optimizer;
};
/// Adds summing and update; hosted: [num_ranks] parameters of the experts that each rank hosts.
void log_update(const TrainingCase& training, const RankSpeed& speed, const plan::ReducePlan& plan,
                std::span<const double> hosted, SlowestOfUpdate slowest, StepLog& log);

}  // namespace conclave::sim
