// SPDX-License-Identifier: BSD-3-Clause
// Everything a training run can be asked for.
#pragma once

#include "runtime/core/compute_options.hpp"
#include "runtime/core/duration.hpp"
#include "runtime/model/options.hpp"
#include "runtime/model/transport.hpp"
#include "runtime/train/checkpoint_folder.hpp"
#include "runtime/train/collapse_watch.hpp"
#include "runtime/train/dataset.hpp"
#include "runtime/train/distil_options.hpp"
#include "runtime/train/nan_options.hpp"
#include "runtime/train/optimizer.hpp"
#include "runtime/train/start.hpp"
#include "runtime/train/trace_options.hpp"
#include "runtime/train/watch_options.hpp"

namespace conclave::train {

/// What a model learns: which token follows, or which class a sample has.
enum class Task { lm, classify };

inline constexpr std::array<EnumName<Task>, 2> enum_names(Task) {
  return {{{Task::lm, "lm"}, {Task::classify, "classify"}}};
}

/// What becomes of a run whose checkpoint or log cannot be written.
enum class OnSaveFailure { retry, stop };

inline constexpr std::array<EnumName<OnSaveFailure>, 2> enum_names(OnSaveFailure) {
  return {{{OnSaveFailure::retry, "retry"}, {OnSaveFailure::stop, "stop"}}};
}

/// Whether experts stay in even runs over the ranks, or are moved when that pays.
enum class ExpertPlacement { even, automatic };
inline constexpr std::array<EnumName<ExpertPlacement>, 2> enum_names(ExpertPlacement) {
  return {{{ExpertPlacement::even, "even"}, {ExpertPlacement::automatic, "auto"}}};
}

struct TrainOptions {
  Task task = Task::lm;
  model::ModelOptions model;
  DataOptions data;
  OptimizerOptions optimizer;
  CollapseOptions collapse;
  NotFiniteOptions not_finite;
  WatchOptions watch;
  StartOptions start;
  DistilOptions distil;

  Index steps = 1000;
  Index stop_after = 0;
  std::optional<Duration> time_limit;  // auto: until the batch job ends
  Duration time_margin{30.0};
  bool requeue = false;
  Index sequences = 12;
  Index groups = 4;
  Index passes = 1;
  Index seed = 1;
  ComputeOptions compute;
  model::TransportOptions transport;
  ExpertPlacement placement = ExpertPlacement::even;
  Index placement_within = 1000;  // steps
  Index placement_replicas = 0;   // of a layer
  bool explain_router = false;

  std::string out = "conclave-run";
  std::string resume;
  std::string rule_file;
  std::optional<Index> checkpoint_every = 500;  // nothing: by mtbf and what a save costs
  Duration mtbf;
  bool checkpoint_async = false;
  OnSaveFailure on_save_failure = OnSaveFailure::retry;
  Retention keep;
  Index eval_every = 250;
  Index eval_sequences = 1024;
  bool drop_ledger = false;
  std::string record_routing;
  std::string metrics_textfile;
  TraceOptions trace;

  [[nodiscard]] Index groups_in_pass() const { return groups / passes; }
  [[nodiscard]] Index sequences_in_group() const { return sequences / groups; }
  /// A classifier is given texts, or vectors of features, as the name of its data says.
  [[nodiscard]] model::ModelKind kind() const;
  /// A vector of features takes the place of one token.
  [[nodiscard]] Index tokens_in_sample() const {
    return kind() == model::ModelKind::feature_classifier ? 1 : model.context;
  }
  [[nodiscard]] Index tokens_in_step() const { return sequences * tokens_in_sample(); }
  /// What has a loss: tokens, or samples.
  [[nodiscard]] Index targets_in_step() const { return task == Task::lm ? tokens_in_step() : sequences; }
};

/// The parts of the description, for a command's sections.
void describe_run(TrainOptions& options, OptionTable& table);
void describe_files(TrainOptions& options, OptionTable& table);

/// InputError for what cannot be run, with the values and the remedy.
void validate(const TrainOptions& options);

struct Encoding;
/// The data that the options ask for. With `known`, classes and scales are those of a checkpoint (labelled.hpp).
/// InputError as make_dataset and make_labelled.
[[nodiscard]] std::unique_ptr<Samples> make_samples(const TrainOptions& options, const Encoding* known = nullptr);

}  // namespace conclave::train
