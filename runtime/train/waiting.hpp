// SPDX-License-Identifier: BSD-3-Clause
// For which rank the others waited through a run, and why.
#pragma once

#include "runtime/core/expert_map.hpp"
#include "runtime/train/metrics.hpp"

namespace conclave::train {

/// Adds up what each rank did in each stretch of the steps: what differs by chance from step to step evens out, and
/// what is left is a rank that the others wait for.
class Waiting {
 public:
  /// A step that was not skipped.
  void add(const StepRecord& step);
  /// Experts are on other ranks from now on.
  void clear() { *this = {}; }

  /// A tenth of the steps' time and more is told.
  static constexpr double least_share = 0.1;
  /// Who it was and why, where that took a considerable share of the steps' time: "31 % of the steps' time waited for
  /// rank 17: expert 3 of MoE layer 8 had 4.1 times the mean load". Nothing otherwise. maps: which rank hosts which
  /// expert, of each MoE layer; groups_in_pass: that ranks share out evenly.
  [[nodiscard]] std::string sentence(std::span<const ExpertMap> maps, Index groups_in_pass) const;

 private:
  [[nodiscard]] std::string reason(RankId rank, Index stretch, std::span<const ExpertMap> maps,
                                   Index groups_in_pass) const;
  [[nodiscard]] std::string reason_of_experts(RankId rank, double times_as_long, Index moe_layer,
                                              const ExpertMap& map) const;
  [[nodiscard]] std::string reason_of_groups(RankId rank, double times_as_long, Index stretch,
                                             Index groups_in_pass) const;

  Index num_ranks_ = 0;
  double seconds_ = 0.0;                   // of all steps
  double imbalance_s_ = 0.0;               // so
  std::vector<double> stretches_s_;        // [ranks, stretches] so
  std::vector<std::vector<Index>> loads_;  // [MoE layers][experts] so
};

}  // namespace conclave::train
