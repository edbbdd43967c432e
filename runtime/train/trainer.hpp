// SPDX-License-Identifier: BSD-3-Clause
// One training run on these ranks: data, model and optimizer, step by step.
#pragma once

#include "runtime/core/function_ref.hpp"
#include "runtime/model/routing_counts.hpp"
#include "runtime/model/step_report.hpp"
#include "runtime/train/async_checkpoint.hpp"
#include "runtime/train/evaluator.hpp"
#include "runtime/train/not_finite.hpp"
#include "runtime/train/options.hpp"
#include "runtime/train/row_traffic.hpp"
#include "runtime/train/sharded_optimizer.hpp"
#include "runtime/train/skipped_steps.hpp"
#include "runtime/train/step_health.hpp"
#include "runtime/train/straggler_watch.hpp"
#include "runtime/train/teacher.hpp"

#include <filesystem>

namespace conclave::train {

class Trainer {
 public:
  /// Sets up step 0 of a run. options must be valid; `communicator` and `dataset` must outlive the trainer.
  /// `placement`: which rank hosts which expert, of each MoE layer; empty: even runs. It changes no bits. Collective.
  Trainer(const TrainOptions& options, const Samples& dataset, const comm::Communicator& communicator,
          std::span<const ExpertMap> placement = {});

  /// From now on the trainer's work is noted there, for a watchdog; null: nowhere.
  void note_in(Whereabouts* whereabouts);

  /// From now on steps are recorded there as spans, until it is null. It changes no bits.
  void record_in(SpanRecorder* recorder) { times_.record_in(recorder); }

  /// From now on steps learn from the teacher too, until it is null; its time counts as Phase::other. The model is a
  /// language model of the teacher's vocabulary. The loss of a step's record is then that of both (distil_options.hpp).
  void learn_from(Teacher* teacher) { teacher_ = teacher; }

  /// Does one step. Collective; the record is the same on every rank, and valid until the next step. At its end
  /// `request` is asked once, on each rank, what this rank wants all of them to do (StepRequest); it travels with the
  /// times. A step of skipped() is counted, and nothing else. If a loss, a gradient or, after the update, a weight is
  /// not finite, the step is skipped where options.not_finite allows that; else this is a NotFiniteError on every rank,
  /// and the trainer is unusable.
  const StepRecord& step(FunctionRef<Index()> request);
  const StepRecord& step() {
    return step([] { return Index{0}; });
  }
  /// Measures the loss on held-out sequences with the capacity factor of evaluation and no random draws. Collective.
  [[nodiscard]] Evaluation evaluate() { return evaluate(Split::validation, options_.eval_sequences); }
  /// The same on the first `sequences` samples of a part, 0: all. Collective.
  [[nodiscard]] Evaluation evaluate(Split split, Index sequences);

  /// What --exchange auto decided so far. The same on every rank.
  [[nodiscard]] std::span<const comm::ExchangeChoice> exchange_choices() const {
    return transport_.exchange().choices();
  }

  /// The sizes of the records' routing. The model has an MoE layer.
  [[nodiscard]] gating::RoutingSizes routing_sizes() const {
    return model::routing_sizes<float>(moe_layers_, options_.groups,
                                       options_.sequences_in_group() * dataset_.tokens_in_sample());
  }
  /// The steps that are passed over; before one is done it can be added.
  [[nodiscard]] SkippedSteps& skipped() { return skipped_; }
  /// The rows that ranks sent one another in the steps since this was last asked for: as RowTraffic::take. Collective.
  [[nodiscard]] std::optional<TrafficRecord> take_traffic() { return traffic_.take(communicator_, step_); }
  /// Steps done.
  [[nodiscard]] Index steps_done() const { return step_; }
  [[nodiscard]] model::Model<float>& model() { return *model_; }
  [[nodiscard]] const TrainOptions& options() const { return options_; }

  /// Writes everything that the next step depends on into options.out; `config` and `record` are kept in the file.
  /// InputError on every rank if it cannot be written. Collective.
  std::filesystem::path save(const std::map<std::string, std::string>& config,
                             const std::map<std::string, std::string>& record);
  /// Begins the same in `async`; returns when the next step may be done. Collective.
  void begin_save(AsyncCheckpoint& async, const std::map<std::string, std::string>& config,
                  const std::map<std::string, std::string>& record);
  /// Tells the next step's record for how long this rank was saving since the last one.
  void add_saving(double seconds) { saving_s_ += seconds; }
  /// Goes on from a checkpoint, written on any number of ranks. InputError on every rank if the file is damaged or is
  /// of another model or other data, or if a weight in it is not finite; then this trainer is unusable. Collective.
  void restore(const std::filesystem::path& checkpoint, const CheckpointHeader& header);
  /// Instead of at drawn values, before the first step: begins at the parameters of a checkpoint, as options.start
  /// says. InputError on every rank if they are not of such a model. Collective.
  void start_from(const std::filesystem::path& checkpoint, const CheckpointHeader& header);
  /// Loss, gradient norm and learning rate of every step so far, also of those before a restore: [steps, 4], the first
  /// column the step.
  [[nodiscard]] const NumberTable& history() const { return history_; }

 private:
  void note(Activity activity);
  const StepRecord& do_step(FunctionRef<Index()> request);
  void train_pass(Index pass);
  void finish_step();
  void finish_skipped_step();
  void add_to_history();
  [[nodiscard]] bool meets_not_finite(const UpdateOutcome& outcome) const;
  void pass_over_or_throw(bool is_updated);
  void update_selection_biases(const std::vector<model::LayerStatistics>& layers);
  [[nodiscard]] CheckpointHeader header(const std::map<std::string, std::string>& config,
                                        const std::map<std::string, std::string>& record) const;
  void share_report(double seconds, Index request);
  void attribute();
  /// Placements of experts are weighed by it too.
  [[nodiscard]] bool counts_routing() const {
    return !options_.record_routing.empty() ||
           (options_.placement == ExpertPlacement::automatic && !moe_layers_.empty());
  }
  void share_routing();

  TrainOptions options_;
  const Samples& dataset_;
  const comm::Communicator& communicator_;
  model::Transport transport_;
  std::unique_ptr<model::Model<float>> model_;
  PhaseTimes times_;
  ShardedOptimizer optimizer_;
  std::vector<const model::MoeLayer<float>*> moe_layers_;
  model::StepReport<float> report_;
  StepHealth health_;
  SkippedSteps skipped_;
  CollapseWatch watch_;
  StragglerWatch straggler_watch_;
  Attributor attributor_;
  RowTraffic traffic_;
  std::vector<double> numbers_;  // this rank's, of a step's report
  double saving_s_ = 0.0;        // since the last step
  Whereabouts* whereabouts_ = nullptr;
  Teacher* teacher_ = nullptr;
  Index step_ = 0;
  Index num_targets_ = 1;  // of the step, over all ranks: each can count them, whatever it reads
  StepRecord record_;      // of the last step
  NumberTable history_{0, 4, {}};
  Batch batch_;  // this rank's part of a pass
};

}  // namespace conclave::train
