// SPDX-License-Identifier: BSD-3-Clause
// The table that closes a training run.
#pragma once

#include "runtime/model/model.hpp"
#include "runtime/train/metrics.hpp"
#include "runtime/train/options.hpp"
#include "runtime/train/waiting.hpp"

namespace conclave::apps {

/// One line: parameters of the routed experts, how many of them are shared, and what they take in memory, each counted
/// once: values, gradient and optimizer state; where a base is shared, beside what they would take without.
[[nodiscard]] std::string expert_costs(model::Model<float>& model, const train::OptimizerOptions& optimizer);

class RunSummary {
 public:
  void add(const train::StepRecord& step);
  void add(const train::Evaluation& evaluation) { evaluation_ = evaluation; }

  /// The run has gone back to the end of an earlier step: what was added is of no account, but that it went back is.
  void go_back();

  /// The loss as a curve and against the data's entropy (if it is known), speed, where the time went and what each
  /// layer's router did, each over the steps that were not skipped; how many were. Speed and times leave out the first
  /// step, which allocates; drop rates are over all steps.
  /// maps: which rank hosts which expert at the end, of each MoE layer.
  [[nodiscard]] std::string text(const train::TrainOptions& options, std::optional<double> entropy,
                                 std::span<const ExpertMap> maps) const;
  /// For which rank others waited, and why (train::Waiting); nothing where it was for none.
  [[nodiscard]] std::string waited_for(const train::TrainOptions& options, std::span<const ExpertMap> maps) const {
    return waiting_.sentence(maps, options.groups_in_pass());
  }
  /// The experts are on other ranks from now on.
  void experts_moved() { waiting_.clear(); }

 private:
  [[nodiscard]] std::string skipped() const;
  [[nodiscard]] std::string losses(std::optional<double> entropy) const;
  [[nodiscard]] std::string times() const;
  [[nodiscard]] std::string attribution() const;
  [[nodiscard]] std::string layers(const train::TrainOptions& options) const;

  Index num_steps_ = 0;
  Index first_step_ = 0;  // that was not skipped
  std::vector<Index> skipped_;
  Index times_back_ = 0;
  Index timed_steps_ = 0;
  Index tokens_ = 0;                                // of timed steps
  double seconds_ = 0.0;                            // of timed steps
  std::array<double, num_phases> phase_seconds_{};  // mean over ranks, of timed steps
  double communication_s_ = 0.0;                    // the same
  train::Attribution attribution_;                  // sums of timed steps
  train::Waiting waiting_;
  train::StepRecord last_;
  std::vector<double> losses_;                  // of every step that was not skipped
  std::vector<model::LayerStatistics> layers_;  // over all steps
  std::optional<train::Evaluation> evaluation_;
};

}  // namespace conclave::apps
