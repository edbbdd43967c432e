// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/options.hpp"

#include "runtime/train/labelled.hpp"

#include <tuple>

namespace conclave::train {

void describe_run(TrainOptions& o, OptionTable& table) {
  table.add("task", o.task,
            "what the model learns: lm (which token follows) or classify (which class a text or a vector of features "
            "has)");
  table.add("steps", o.steps, "training steps of the whole run");
  table.add("stop_after", o.stop_after, "save and stop after this step, to be resumed later; 0: run to the end");
  table.add("time_limit", o.time_limit,
            "save and stop, with exit code 75, before this much time has passed since the start; auto: before the end "
            "of the SLURM job, if the run is in one; 0: never");
  table.add("time_margin", o.time_margin,
            "the run stops when the time left is less than the longest step and the longest save so far and this");
  table.add("requeue", o.requeue, "when a signal or the time stops the run, have SLURM start its job again");
  table.add("sequences", o.sequences, "sequences of a step, over all ranks; of a classifier, samples");
  table.add("groups", o.groups, "routing groups of a step; they divide the sequences, and ranks share them out");
  table.add("passes", o.passes,
            "forward and backward passes of a step (gradient accumulation); they divide the groups");
  table.add("seed", o.seed, "of initial weights, data order and routing");
  describe(o.not_finite, table);
  conclave::describe(o.compute, table);
  table.add("explain_router", o.explain_router, "say what the router will do with these options, and stop");
  model::describe(o.transport, table);
  table.add(
      "placement", o.placement,
      "which rank hosts which expert: even runs of them, or, auto, from one checkpoint to the next where, by the loads "
      "that were measured, the simulator says that a move pays for itself; no bits depend on it");
  table.add("placement_within", o.placement_within, "placement = auto: steps within which a move must pay for itself");
  table.add("placement_replicas", o.placement_replicas,
            "placement = auto: at most so many more copies of a layer's hottest experts, on other ranks, where these "
            "gain more than the copies' gradients and values take on their way");
}

void describe_files(TrainOptions& o, OptionTable& table) {
  table.add("out", o.out, "folder for checkpoints, metrics and the run's configuration");
  table.add(
      "resume", o.resume,
      "continue from a checkpoint, or from the newest one in a folder; auto: from the newest in out, or begin if it "
      "has none");
  table.add("rule_file", o.rule_file, "router = rule: a file of rules, which become the run's own (see rules)");
  table.add("checkpoint_every", o.checkpoint_every,
            "steps between checkpoints; 0: only at the end; auto: by what one costs and mtbf");
  table.add("mtbf", o.mtbf, "checkpoint_every = auto: the time between failures, on average, of the whole job");
  table.add("checkpoint_async", o.checkpoint_async,
            "write checkpoints while the run goes on: it stops only to copy them in memory");
  table.add("on_save_failure", o.on_save_failure,
            "when a checkpoint or the log cannot be written: retry (go on and try again) or stop");
  table.add("keep_last", o.keep.last, "checkpoints kept, the newest");
  table.add("keep_every", o.keep.every, "and for good those of steps that are multiples of this; 0: none");
  table.add("eval_every", o.eval_every, "steps between evaluations on held-out data; 0: only at the end");
  table.add("drop_ledger", o.drop_ledger, "write every dropped claim of every step into run.h5: who, where and why");
  table.add("record_routing", o.record_routing,
            "a file that the routing of every step is added to, for simulations: choices by layer, source and expert");
  table.add(
      "metrics_textfile", o.metrics_textfile,
      "a file that says how the run stands, for Prometheus' node_exporter (NAME.prom), rewritten every few seconds");
  describe(o.collapse, table);
  describe(o.watch, table);
  table.add("eval_sequences", o.eval_sequences, "held-out sequences of an evaluation, from the first; 0: all");
}

namespace {

void refuse_below(Index least, Index value, std::string_view name) {
  if (value < least) throw InputError(fmt::format("{} = {}", name, value), fmt::format("give at least {}", least));
}

void refuse_remainder(Index whole, Index part, const std::string& message) {
  if (whole % part != 0) throw InputError(message, "choose numbers that divide without remainder");
}

// Options that say something about data with classes only, or about text and the synthetic corpus only.
void validate_task(const TrainOptions& o) {
  const DataOptions defaults;
  const CorpusOptions& corpus = o.data.corpus;
  if (o.task != Task::lm && o.distil.has_teacher()) {
    throw InputError(fmt::format("teacher = {} with task = {}", o.distil.teacher, name_of(o.task)),
                     "language models learn from a teacher: leave it out");
  }
  if (o.task == Task::lm && o.data.test_fraction != defaults.test_fraction) {
    throw InputError(fmt::format("test_fraction = {} with task = lm", o.data.test_fraction),
                     "a test part is for classification: leave it out");
  }
  if (o.data.data_format != DataFormat::text && o.task != Task::lm) {
    throw InputError(fmt::format("data_format = {} with task = {}", name_of(o.data.data_format), name_of(o.task)),
                     "it says what a language model's data is: leave it out");
  }
  if (!o.data.standardise && o.kind() != model::ModelKind::feature_classifier) {
    throw InputError(fmt::format("standardise = no with task = {} on text", name_of(o.task)),
                     "it is for vectors of features: leave it out");
  }
  if (o.task == Task::lm) return;
  for (const auto& [name, value, unset] :
       {std::tuple{"domains", static_cast<double>(corpus.domains), static_cast<double>(defaults.corpus.domains)},
        std::tuple{"alphabet", static_cast<double>(corpus.alphabet), static_cast<double>(defaults.corpus.alphabet)},
        std::tuple{"spread", corpus.spread, defaults.corpus.spread},
        std::tuple{"sequences", static_cast<double>(corpus.sequences),
                   static_cast<double>(defaults.corpus.sequences)}}) {
    if (value == unset) continue;
    throw InputError(fmt::format("corpus_{} = {} with task = classify", name, value),
                     "the synthetic corpus has no classes: leave its options out, and give --data");
  }
}

}  // namespace

void validate(const TrainOptions& o) {
  model::validate(o.model, o.kind());
  validate_task(o);
  validate(o.optimizer);
  validate(o.collapse);
  validate(o.not_finite);
  validate(o.watch);
  validate(o.start, o.model);
  validate(o.distil);
  if (!o.start.init_from.empty() && !o.resume.empty()) {
    throw InputError(fmt::format("resume = {} with init_from = {}", o.resume, o.start.init_from),
                     "a resumed run has its parameters: leave init_from out, or start a new run without resume");
  }
  refuse_below(1, o.steps, "steps");
  refuse_below(0, o.stop_after, "stop_after");
  validate(o.trace, o.steps);
  refuse_below(1, o.sequences, "sequences");
  refuse_below(1, o.groups, "groups");
  refuse_below(1, o.passes, "passes");
  if (o.seed < 0 || o.seed > max_seed) {
    throw InputError(fmt::format("seed = {}", o.seed), fmt::format("give a whole number from 0 to {}", max_seed));
  }
  model::validate(o.transport);
  refuse_below(1, o.placement_within, "placement_within");
  refuse_below(0, o.placement_replicas, "placement_replicas");
  if (o.placement_replicas > 0 && o.placement != ExpertPlacement::automatic) {
    throw InputError(
        fmt::format("placement_replicas = {} with placement = {}", o.placement_replicas, name_of(o.placement)),
        "experts are copied where they are placed by their loads: give placement = auto");
  }
  if (o.placement == ExpertPlacement::automatic && o.model.moe_every > 0 &&
      o.model.experts.expert_sharing != experts::ExpertSharing::none) {
    throw InputError("placement = auto with expert_sharing = base+delta",
                     "experts that share a base stay in even runs: use placement = even, or expert_sharing = none");
  }
  if (o.checkpoint_every) refuse_below(0, *o.checkpoint_every, "checkpoint_every");
  if (o.checkpoint_every.has_value() == (o.mtbf.seconds > 0.0)) {
    throw InputError(fmt::format("checkpoint_every = {} with mtbf = {}",
                                 o.checkpoint_every ? fmt::format("{}", *o.checkpoint_every) : "auto", text_of(o.mtbf)),
                     "auto needs the mean time between failures, such as 12h or 1-12:00:00, and nothing else does");
  }
  refuse_below(1, o.keep.last, "keep_last");
  refuse_below(0, o.keep.every, "keep_every");
  refuse_below(0, o.eval_every, "eval_every");
  refuse_below(0, o.eval_sequences, "eval_sequences");
  refuse_remainder(o.sequences, o.groups, fmt::format("{} sequences in {} groups", o.sequences, o.groups));
  refuse_remainder(o.groups, o.passes, fmt::format("{} groups in {} passes", o.groups, o.passes));
  if (o.passes > 1 && o.model.moe_every > 0 && o.model.router.capacity_scope == gating::CapacityScope::step) {
    throw InputError(fmt::format("capacity_scope = step with passes = {}", o.passes),
                     "slots over a step need all its groups in one pass: use passes = 1, or capacity_scope = group");
  }
  if (o.passes > 1 && o.model.moe_every > 0 && o.model.router.balance_scope == gating::BalanceScope::step) {
    throw InputError(
        fmt::format("balance_scope = step with passes = {}", o.passes),
        "the balance over a step needs all its groups in one pass: use passes = 1, or balance_scope = group");
  }
  if (!o.record_routing.empty() && o.model.moe_every == 0) {
    throw InputError(fmt::format("record_routing = {} with moe_every = 0", o.record_routing),
                     "a model without MoE layers routes nothing: leave it out");
  }
  if (o.out.empty()) throw InputError("out is empty", "name a folder for checkpoints and metrics");
}

model::ModelKind TrainOptions::kind() const {
  if (task == Task::lm) return model::ModelKind::language;
  return holds_features(data.data) ? model::ModelKind::feature_classifier : model::ModelKind::text_classifier;
}

std::unique_ptr<Samples> make_samples(const TrainOptions& o, const Encoding* known) {
  if (o.task == Task::lm) return make_dataset(o.data, o.model.context, o.seed);
  return make_labelled(o.data, o.model.context, o.seed, known);
}

}  // namespace conclave::train
