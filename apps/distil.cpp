// SPDX-License-Identifier: BSD-3-Clause
#include "apps/distil.hpp"

#include "apps/option_text.hpp"
#include "apps/run_folder.hpp"
#include "apps/train.hpp"
#include "experts/expert_shard.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::apps {

using model::ModelOptions;

void describe(StudentOptions& o, OptionSections& sections) {
  OptionTable& table = sections.section("A dense student, in place of these");
  table.add("distil", o.distil,
            "train a model without experts on what the checkpoint's model says of the training part of the run's data, "
            "or of --data, on any number of ranks; out is its run's folder. Attention, embedding, norms and head begin "
            "at the teacher's");
  table.add("student_hidden", o.student_hidden,
            "hidden width of the student's feed-forwards; 0: as many parameters as a token passes in the teacher's");
  table.add("student_layers", o.student_layers,
            "its blocks, which begin at the teacher's at even distances; 0: as many as the teacher has");
  table.add("distil_steps", o.distil_steps, "steps of its training; 0: as many as the teacher's run had");
  train::describe_loss(o.loss, table);
  table.add("compare_undistilled", o.compare_undistilled,
            "train the same student without the teacher too, into OUT-undistilled: what the teacher is worth");
  train::describe(o.optimizer, sections.section("Optimizer of the student; what is not given is as in the run"));
}

void refuse_without_distil(const StudentOptions& options, const Session& session) {
  if (options.distil) return;
  StudentOptions copy = options;
  OptionSections sections;
  describe(copy, sections);
  for (const Option* option : sections.all()) {
    if (option->name == "distil" || !session.given.contains(option->name)) continue;
    throw InputError(fmt::format("option '{}' without '--distil'", flag_of(option->name)),
                     "it is for a student: give --distil too, or leave it out");
  }
}

namespace {

// A matrix and what belongs to it, without what experts share: the function that a token passes.
double elements_of(experts::ExpertShape shape) {
  return static_cast<double>(experts::expert_parameters({shape}, "", ExpertId{0}).size());
}

// Parameters of the feed-forwards that a token passes, on average over the blocks.
double passed_elements(const ModelOptions& teacher) {
  experts::ExpertOptions whole = teacher.experts;
  whole.expert_sharing = experts::ExpertSharing::none;
  double of_experts = 0.0;
  for (const auto& shape : experts::expert_shapes(whole, teacher.width, teacher.router.experts)) {
    of_experts += elements_of(shape) / static_cast<double>(teacher.router.experts);
  }
  double of_layer = chosen_experts(teacher.router) * of_experts;
  for (const auto& shape : experts::shared_shapes(whole, teacher.width)) of_layer += elements_of(shape);
  const double of_dense =
      elements_of({teacher.dense_kind, teacher.width, teacher.dense_hidden, teacher.experts.expert_bias});
  const auto moe = static_cast<double>(teacher.num_moe_layers());
  const auto layers = static_cast<double>(teacher.layers);
  return (moe * of_layer + (layers - moe) * of_dense) / layers;
}

// That of the experts if it is one for all and has hidden units.
experts::ExpertKind student_kind(const ModelOptions& teacher) {
  const std::vector<std::string>& kinds = teacher.experts.expert_kind;
  const bool same = std::ranges::all_of(kinds, [&](const std::string& kind) { return kind == kinds.front(); });
  const auto shapes = experts::expert_shapes(teacher.experts, teacher.width, teacher.router.experts);
  const experts::ExpertKind kind = same ? shapes.front().kind : teacher.dense_kind;
  return kind == experts::ExpertKind::linear ? experts::ExpertKind::gelu : kind;
}

}  // namespace

ModelOptions student_model(const ModelOptions& teacher, const StudentOptions& o) {
  if (teacher.moe_every == 0) {
    throw InputError("distil of a model without experts (moe_every = 0)",
                     "train a smaller model with conclave train --teacher CHECKPOINT");
  }
  if (o.student_hidden < 0) {
    throw InputError(fmt::format("student_hidden = {}", o.student_hidden), "give 1 or more; 0: as a token's experts");
  }
  if (o.student_layers < 0 || o.student_layers > teacher.layers) {
    throw InputError(fmt::format("student_layers = {} of a teacher of {}", o.student_layers, teacher.layers),
                     fmt::format("give 1 to {}; 0: as many", teacher.layers));
  }
  ModelOptions student = teacher;
  student.moe_every = 0;
  student.dense_kind = student_kind(teacher);
  if (o.student_layers > 0) student.layers = o.student_layers;
  const auto elements = [&](Index hidden) {
    return elements_of({student.dense_kind, student.width, hidden, student.experts.expert_bias});
  };
  const double of_unit = elements(2) - elements(1);
  const double units = (passed_elements(teacher) - (elements(1) - of_unit)) / of_unit;
  student.dense_hidden = o.student_hidden > 0 ? o.student_hidden : std::max<Index>(1, std::llround(units));
  return student;
}

namespace {

/// The run of the student of `teacher`.
train::TrainOptions student_run(const OpenedCheckpoint& teacher, const std::string& out, const StudentOptions& o,
                                const MeasureOptions& measured, const Session& session) {
  train::TrainOptions run;
  run.optimizer = o.optimizer;
  OptionTable of_optimizer;
  train::describe(run.optimizer, of_optimizer);
  std::set<std::string> kept;
  for (const Option& option : of_optimizer.options()) {
    if (session.given.contains(option.name)) kept.insert(option.name);
  }
  for (const std::string& change : adopt_options(teacher.header, kept, run)) {
    if (session.world.is_root()) fmt::print(stderr, "{}\n", change);
  }
  if (run.task != train::Task::lm) {
    throw InputError(fmt::format("distil of a model with task = {}", name_of(run.task)),
                     "language models can be distilled: use a checkpoint of a run with task = lm");
  }
  run.model = student_model(run.model, o);
  // What was about the teacher's experts, or about single steps of its run.
  run.placement = train::ExpertPlacement::even;
  run.placement_replicas = 0;
  run.drop_ledger = false;
  run.not_finite.skip_steps.clear();
  if (!kept.contains("freeze")) run.optimizer.freeze.clear();
  if (!kept.contains("gate_every")) run.optimizer.gate_every = 1;
  if (o.distil_steps != 0) run.steps = o.distil_steps;
  if (!measured.data.empty()) run.data.data = measured.data;
  run.start = {.init_from = teacher.file.string(), .init_matching = true};
  run.distil = o.loss;
  run.distil.teacher = teacher.file.string();
  run.out = out;
  return run;
}

train::TrainOptions without_teacher(train::TrainOptions run) {
  run.distil = {};
  run.out += "-undistilled";
  return run;
}

}  // namespace

int distil(const std::string& checkpoint, const std::string& out, const StudentOptions& o,
           const MeasureOptions& measured, const Session& session) {
  const OpenedCheckpoint teacher = open_checkpoint(session.world, checkpoint);
  const train::TrainOptions run = student_run(teacher, out, o, measured, session);
  train::validate(run);
  refuse_used_folder(session.world, run, {});
  if (o.compare_undistilled) refuse_used_folder(session.world, without_teacher(run), {});
  std::vector<ModelRow> rows{stored_row("teacher", teacher.file.string(), measured, session)};
  int exit_code = train_model({.run = run, .pricing = {}}, session);
  if (exit_code != 0) return exit_code;
  rows.push_back(stored_row("student", run.out, measured, session));
  if (o.compare_undistilled) {
    exit_code = train_model({.run = without_teacher(run), .pricing = {}}, session);
    if (exit_code != 0) return exit_code;
    rows.push_back(stored_row("no teacher", without_teacher(run).out, measured, session));
  }
  if (!session.world.is_root()) return 0;
  fmt::print("\nwrote {}: {} blocks, feed-forward {} of hidden width {}, {} steps, distil_weight {}, temperature {}\n",
             run.out, run.model.layers, name_of(run.model.dense_kind), run.model.dense_hidden, run.steps,
             run.distil.distil_weight, run.distil.temperature);
  fmt::print("{}", table_of(rows, train::loss_unit(false)));
  return 0;
}

}  // namespace conclave::apps
