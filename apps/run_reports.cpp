// SPDX-License-Identifier: BSD-3-Clause
#include "apps/run_reports.hpp"

#include "apps/class_report.hpp"
#include "apps/exchange_report.hpp"
#include "apps/train_options.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/train/agreed.hpp"

namespace conclave::apps {

RunReports::RunReports(const train::TrainOptions& options, const comm::Communicator& world, train::Trainer& trainer,
                       Index last, const train::RunLog::Texts& record)
    : options_(options),
      world_(world),
      trainer_(trainer),
      progress_(trainer.steps_done(), last, world.is_root()),
      journal_(options, trainer.steps_done(), option_values(options), record, world, teller()),
      textfile_(world.is_root() ? options.metrics_textfile : "", options.out, trainer.steps_done(), last, teller()) {
  train::on_root(world, [&] {
    if (options.record_routing.empty()) return;
    journal_.record_routing(options.record_routing, trainer.routing_sizes(), trainer.steps_done());
  });
}

void RunReports::introduce(const train::Samples& data, std::span<const std::string> notices) {
  note(fmt::format("{}: {} ranks, {} threads a rank", data.description(), world_.size(), num_threads()));
  const std::string samples =
      options_.kind() == model::ModelKind::feature_classifier
          ? fmt::format("{} vectors", options_.sequences)
          : fmt::format("{} sequences of {} tokens", options_.sequences, options_.model.context);
  note(fmt::format("{} parameters; {} a step, in {} groups", trainer_.model().num_parameters(), samples,
                   options_.groups));
  if (options_.model.moe_every > 0) note(expert_costs(trainer_.model(), options_.optimizer));
  for (const std::string& notice : data.notices()) note(notice);
  for (const std::string& notice : notices) note(notice);
}

void RunReports::step_done(const train::StepRecord& step) {
  summary_.add(step);
  journal_.append(step);
  note_choices(step.step);
  textfile_.add(step);
  for (const std::string& alarm : step.alarms) note(alarm);
  if (!step.straggler.empty()) note(step.straggler);
  if (!step.skipped.empty()) {
    note("skipped: " + step.skipped);
    return;
  }
  progress_.update(step.step, fmt::format("loss {:.4f}  dropped {:.1f} %  {:.0f} tokens/s", step.loss,
                                          100.0 * step.drop_rate(), step.tokens_per_s()));
}

// How rows travel is decided in a trainer's first steps.
void RunReports::note_choices(Index step) {
  const std::span<const comm::ExchangeChoice> choices = trainer_.exchange_choices();
  for (; noted_choices_ < choices.size(); ++noted_choices_) {
    const comm::ExchangeChoice& choice = choices[noted_choices_];
    journal_.note("exchange " + choice.inbox, text_of(choice));
    journal_.append(train::ExchangeDecision{step});
  }
}

void RunReports::evaluated(const train::Evaluation& evaluation) {
  summary_.add(evaluation);
  journal_.append(evaluation);
  textfile_.add(evaluation);
  std::string text = fmt::format("step {}: held-out loss {:.4f} {} over {}", evaluation.step, evaluation.loss,
                                 evaluation.loss_unit, evaluation.size_text());
  if (evaluation.confusion.classes() > 0) {
    text += ", " + class_summary(evaluation.confusion, evaluation.accuracy);
  }
  note(text);
}

void RunReports::saved(const train::SavedCheckpoint& save) {
  journal_.append(save);
  textfile_.add_checkpoint();
}

void RunReports::record_traffic() {
  if (const std::optional<train::TrafficRecord> traffic = trainer_.take_traffic()) journal_.append(*traffic);
}

void RunReports::gone_back() {
  journal_.go_back(trainer_.steps_done());
  summary_.go_back();
  noted_choices_ = 0;
}

void RunReports::experts_moved() {
  summary_.experts_moved();
  noted_choices_ = 0;
}

void RunReports::finish() {
  journal_.flush();
  textfile_.close();
  progress_.finish();
}

void RunReports::summarise(std::optional<double> entropy, std::span<const ExpertMap> maps) {
  if (!world_.is_root()) return;
  if (noted_choices_ > 0) note("exchange auto: " + summary_of(trainer_.exchange_choices()));
  fmt::print("{}", summary_.text(options_, entropy, maps));
}

}  // namespace conclave::apps
