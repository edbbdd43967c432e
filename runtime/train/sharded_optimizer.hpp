// SPDX-License-Identifier: BSD-3-Clause
// The optimizer of a distributed model: ZeRO stage 1 (Rajbhandari et al. 2020). A rank owns a slice of the replicated
// parameters and the experts whose home it is; it keeps the optimizer state of those alone. Replicated are the model's
// own parameters, whose gradient is a sum over groups, and the base of each layer whose experts share one: a sum over
// experts.
#pragma once

#include "runtime/core/trace.hpp"
#include "runtime/model/model.hpp"
#include "runtime/train/optimizer.hpp"
#include "runtime/train/replicated_run.hpp"
#include "runtime/train/skipped_steps.hpp"

#include <atomic>

namespace conclave::train {

/// What became of an update.
struct UpdateOutcome {
  double gradient_norm = 0.0;  // before clipping
  bool is_done = false;        // false: something was not finite, and nothing has changed
};

/// Sums the gradients of a step and updates the model, with the same bits on any number of ranks and threads: sums
/// follow the trees over groups and experts, and the norm is summed in fixed blocks of the parameters.
class ShardedOptimizer {
 public:
  /// `model`, `times` and what `ranks` refers to must outlive the optimizer. groups_in_pass: groups of a pass over all
  /// ranks. InputError if the options freeze all that the model has.
  ShardedOptimizer(const OptimizerOptions& options, model::Model<float>& model, const model::Ranks& ranks,
                   Index groups_in_pass, PhaseTimes& times);
  ShardedOptimizer(const ShardedOptimizer&) = delete;
  ShardedOptimizer& operator=(const ShardedOptimizer&) = delete;
  ~ShardedOptimizer() = default;

  /// Where a pass's backward puts the gradients of the model's own replicated parameters. Their sums over all ranks
  /// begin as soon as all of a run's are there, and hide behind the rest of backward.
  [[nodiscard]] model::GroupGradients<float>& pass_gradients() { return pass_gradients_; }
  /// Adds up the pass's gradients over all ranks: each pass's tree is a term. Collective.
  void end_pass();
  /// Updates all parameters with the gradients of the passes since the last update, clipped to options.clip_norm. What
  /// does not move in `step` (from 0) stays as it is, state and all, and does not count in the norm. The steps of
  /// `skipped` have had no update. If the norm is not finite, or on any rank `is_sound` (of what this rank knows of the
  /// step) is false, nothing changes on any rank, and the gradients stay until forget_gradients. Collective.
  UpdateOutcome update(Index step, double learning_rate, const SkippedSteps& skipped, bool is_sound);
  /// Whether what this rank updated last is finite.
  [[nodiscard]] bool has_finite_values() const { return has_finite_values_; }
  /// The next update is one of the passes from now on.
  void forget_gradients();

  /// Values and states as parts of named tensors, for a checkpoint: "/params/<name>" and "/optimizer/<state>/<name>".
  /// The parts refer to this object and the model.
  [[nodiscard]] std::vector<TensorPart> parts();
  /// Gradients of the passes since the last update, as parts of tensors "<name>".
  [[nodiscard]] std::vector<TensorPart> gradients();
  /// To be called after the parts have been read: makes the replicated values whole on every rank, and experts'
  /// replicas the same as at home. Collective.
  void share_values();

 private:
  /// A run of a flat array that this rank updates.
  struct Owned {
    const ParameterList* list;
    Range range;  // of the list's flat array
    std::span<float> values;
    std::span<float> gradient;
    std::vector<Matrix<float>> states;  // each [1, range.size()]
  };
  struct Chunk {  // of one tensor
    std::size_t owned;
    Range elements;  // of the flat array
    bool decays;
    ModelPart part;
  };
  using ArrayOf = std::function<std::span<float>(Owned&)>;
  void own(const ParameterList& list, Range range, std::span<float> values, std::span<float> gradient);
  void cut_chunks();
  void refuse_to_train_nothing() const;
  [[nodiscard]] ModelPart part_of(std::size_t owned, const ParameterEntry& entry) const;
  void forget_what_stays(Index step);
  void share_whole();
  void cover(Range parameters);
  void make_progress();
  [[nodiscard]] std::vector<std::vector<Range>> slices() const;
  void apply(const Chunk& chunk, const Update& update);
  void add_owned(const std::vector<std::pair<std::string, ArrayOf>>& arrays, std::vector<TensorPart>& parts);
  void plan_norm();
  [[nodiscard]] UpdateOutcome weigh_gradients(bool is_sound);

  OptimizerOptions options_;
  std::unique_ptr<Optimizer> rule_;
  model::Model<float>& model_;
  model::Ranks ranks_;
  plan::ReducePlan plan_;
  model::GroupGradients<float> pass_gradients_;
  PhaseTimes& times_;
  std::deque<ReplicatedRun> runs_;  // the model's own first, then the base of each MoE layer
  std::size_t num_own_runs_ = 0;
  std::deque<Owned> owned_;  // the slice of each run first, then the experts of each MoE layer
  std::vector<Chunk> chunks_;
  std::vector<std::span<const float>> squared_;  // parts of this rank's gradients, of which the norm has a sum each
  std::vector<double> sums_;                     // of all ranks: each its verdict (0: sound), then its sums of squares
  std::vector<Range> sums_of_rank_;
  std::vector<Index> order_of_sums_;  // in which they are added
  std::atomic<bool> has_finite_values_ = true;
};

}  // namespace conclave::train
