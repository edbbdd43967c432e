// SPDX-License-Identifier: BSD-3-Clause
// The command `train`: trains a mixture-of-experts model, from the start or from a checkpoint.
#include "apps/train.hpp"

#include "apps/bench_report.hpp"
#include "apps/class_report.hpp"
#include "apps/command.hpp"
#include "apps/expert_mover.hpp"
#include "apps/failure.hpp"
#include "apps/launch.hpp"
#include "apps/loaded_teacher.hpp"
#include "apps/memory.hpp"
#include "apps/router_options.hpp"
#include "apps/run_folder.hpp"
#include "apps/run_record.hpp"
#include "apps/run_reports.hpp"
#include "apps/run_trace.hpp"
#include "apps/saver.hpp"
#include "apps/stopping.hpp"
#include "apps/train_options.hpp"
#include "apps/training_needs.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/train/agreed.hpp"
#include "runtime/train/checkpoint_folder.hpp"
#include "runtime/train/folder_lock.hpp"
#include "runtime/train/trainer.hpp"
#include "runtime/train/watchdog.hpp"

namespace conclave::apps {
namespace {

using train::TrainOptions;

constexpr Index folder_is_lost = -2;  // a step's request, beside those of Stopping
constexpr Index log_is_lost = -3;     // so

constexpr Index traffic_every = 100;  // steps: what is told of them is no more than a row of numbers for each rank

/// One call of the command: what the root shows and writes, and when the run is evaluated and saved.
class Run {
 public:
  /// teacher: null where the options name none.
  Run(const TrainOptions& options, const PricingFiles& pricing, const Session& session, const train::Samples& dataset,
      LoadedTeacher* teacher, const Stopping& stopping, train::Watchdog& watchdog, train::FolderLock& lock)
      : options_(options),
        world_(session.world),
        dataset_(dataset),
        teacher_(teacher),
        stopping_(stopping),
        lock_(lock),
        watchdog_(watchdog),
        stop_rule_(options.time_margin.seconds, checkpoint_bytes(make_trainer()), evaluation_steps()) {
    record_ = run_record(session);
    if (options.placement == train::ExpertPlacement::automatic && options.model.moe_every > 0) {
      mover_.emplace(options, pricing, dataset.shape(), trainer_->routing_sizes(), world_);
    }
    if (options.model.moe_every > 0) router_notices_ = router_notices(options.model.router, session.given);
    for (const std::string& difference : ranks_that_differ(session.world, record_)) say(difference);
  }

  void restore(const OpenedCheckpoint& from) {
    trainer_->restore(from.file, from.header);
    resumed_from_ = from;
    saved_ = from.file;
    watchdog_.saved(from.file);
    say(fmt::format("resumed from {} after step {}", from.file.string(), trainer_->steps_done()));
    for (const std::string& difference : differences_that_change_bits(from.header.record, record_)) {
      say("the bits may differ from the run that wrote the checkpoint: " + difference);
    }
  }

  void start_from(const OpenedCheckpoint& from) {
    trainer_->start_from(from.file, from.header);
    began_at_ = from;
    const std::string made =
        fmt::format("{}, step {}", from.file.string(), train::integer_of(from.header, "step", from.file));
    record_["init_from"] = made + (options_.start.upcycle         ? ", upcycled"
                                   : options_.start.init_matching ? ", as far as shapes match"
                                                                  : "");
    say(fmt::format("begins at the parameters of {}", record_["init_from"]));
  }

  int run() {
    try {
      return steps();
    } catch (const InputError&) {
      throw;  // names what is to be mended, wherever it was met
    } catch (...) {
      fmt::print(stderr, "conclave train: rank {} was in {}\n", world_.rank().value(),
                 watchdog_.whereabouts().read().text());
      throw;
    }
  }

 private:
  int steps() {
    const Index last = options_.stop_after > 0 ? std::min(options_.stop_after, options_.steps) : options_.steps;
    take_folder();
    RunReports reports(options_, world_, *trainer_, last, record_);
    const bool is_done = trainer_->steps_done() >= last;
    const bool owes_evaluation = world_.any(reports.journal().owes_evaluation() && evaluation_steps() > 0.0 &&
                                            (is_done || is_due(trainer_->steps_done(), options_.eval_every)));
    if (is_done && !owes_evaluation) {
      say(fmt::format("nothing to do: {} of {} steps are done", trainer_->steps_done(), last));
      return 0;
    }
    write_configuration(world_, options_);
    const auto saved = [&](const std::filesystem::path& file, double seconds) {
      saved_ = file;
      move_s_ = std::max(move_s_, seconds);
      stop_rule_.saw_save(seconds);
      watchdog_.saved(file);
      reports.saved({train::step_of(file).value_or(0), seconds});
    };
    Saver saver(*trainer_, world_, reports.journal(), option_values(options_), what_bits_depend_on(record_),
                reports.teller(), saved);
    reports.introduce(dataset_, router_notices_);
    if (teacher_ != nullptr) reports.note(teacher_->text());
    RunTrace trace(options_.trace, world_, trainer_->steps_done(), reports.teller());
    if (!stopping_.notice().empty()) say(stopping_.notice());
    if (mover_) reports.recording_teller()("moves of experts are priced by", mover_->basis());
    if (owes_evaluation) evaluate(reports);
    std::string stopped_by;
    bool is_first = true;  // step of this process
    while (stopped_by.empty() && trainer_->steps_done() < last) {
      const train::StepRecord* done = nullptr;
      trace.before_step(*trainer_);
      try {
        done = &do_step(saver, reports.journal());
      } catch (const train::NotFiniteError& error) {
        refuse_lost_folder();
        saver.finish();
        go_back(error, reports);
        saver.go_back();
        trace.go_back();
        continue;
      }
      const train::StepRecord& step = *done;
      if (step.request.what == folder_is_lost) refuse_lost_folder();
      reports.step_done(step);
      // A log that takes not even its first record is told before anything is saved beside it.
      if (step.request.what == log_is_lost || is_first) reports.journal().refuse_failure();
      is_first = false;
      const bool at_end = step.step == last;
      if (!at_end && step.request.what != 0) stopped_by = stopping_.reason(step.request);
      // First what must not be lost. A run that is stopped has no time for the evaluation: it is made up for later.
      const bool is_boundary = !at_end && stopped_by.empty() && saver.is_due(step.step);
      const bool ends = at_end || !stopped_by.empty();
      if (ends || saver.is_due(step.step) || is_due(step.step, traffic_every)) reports.record_traffic();
      trace.around_save(saver, ends || saver.is_due(step.step),
                        [&] { ends ? saver.at_end() : saver.after_step(step); });
      if (stopped_by.empty() && (at_end || is_due(step.step, options_.eval_every))) {
        trace.around("evaluation", [&] { evaluate(reports); });
      }
      if (mover_) {
        mover_->add(step);
        if (is_boundary) move_experts(saver, reports);  // there is no such step afterwards
      }
      trace.after_step(*trainer_, saver, ends);
    }
    reports.finish();
    return end(stopped_by, last, reports);
  }

  int end(const std::string& stopped_by, Index last, RunReports& reports) {
    if (mover_) mover_->tell_gain(reports.recording_teller());
    reports.summarise(dataset_.entropy(), expert_maps());
    if (stopped_by.empty() && last == options_.steps) test(reports);
    reports.journal().close();
    return stopped_by.empty() ? 0 : stop(stopped_by);
  }

  [[nodiscard]] std::vector<ExpertMap> expert_maps() {
    std::vector<ExpertMap> maps;
    for (const model::MoeLayer<float>* layer : trainer_->model().moe_layers()) maps.push_back(layer->map());
    return maps;
  }

  // If it was not there before: another run may have begun in it meanwhile, and even ended.
  void take_folder() {
    bool is_new = false;
    train::on_root(world_, [&] { is_new = lock_.take(options_.out); });
    if (world_.any(is_new)) refuse_used_folder(world_, options_, {});
  }

  void refuse_lost_folder() {
    train::on_root(world_, [&] {
      if (!lock_.is_held()) lock_.refuse_loss();
    });
  }

  // What no step can be done with any more is left, and the run goes on from its last checkpoint, or its beginning, as
  // another start of the program would, but that it passes over the step. InputError on every rank if the options do
  // not want that.
  void go_back(const train::NotFiniteError& error, RunReports& reports) {
    std::optional<OpenedCheckpoint> last = last_checkpoint(world_, options_, reports.teller());
    if (!last) last = resumed_from_;
    const std::string hint = fmt::format(
        "{} ({})", error.hint(),
        last ? fmt::format("the last checkpoint is {}", last->file.string()) : "there is no checkpoint yet");
    const train::NotFiniteOptions& o = options_.not_finite;
    if (o.on_nan != train::OnNan::rollback) throw InputError(error.what(), hint);
    train::SkippedSteps skipped = trainer_->skipped();
    skipped.add(error.step(), error.what());
    make_trainer();
    if (last) {
      trainer_->restore(last->file, last->header);
    } else if (began_at_) {
      trainer_->start_from(began_at_->file, began_at_->header);
    }
    const Index done = trainer_->steps_done();
    if (std::max(skipped.found_in_row(error.step()), skipped.found_after(done)) > o.on_nan_limit) {
      throw InputError(fmt::format("{}; with it more than on_nan_limit = {} steps in a row, or after step {}",
                                   error.what(), o.on_nan_limit, done),
                       hint);
    }
    trainer_->skipped() = std::move(skipped);
    reports.note(fmt::format("{}; back to the end of step {} ({}), and on without the data of step {}", error.what(),
                             done, last ? last->file.string() : "the beginning", error.step()));
    reports.gone_back();
  }

  // By way of the checkpoint that was just saved.
  void move_experts(Saver& saver, RunReports& reports) {
    const Index done = trainer_->steps_done();
    const auto places = mover_->better_places(done, move_s_, reports.recording_teller(), reports.recorder());
    if (!places) return;
    saver.finish();
    const std::optional<OpenedCheckpoint> last = last_checkpoint(world_, options_, reports.teller());
    if (!last || train::integer_of(last->header, "step", last->file) != done) return;  // the save has failed
    const Clock::time_point start = Clock::now();
    train::SkippedSteps skipped = trainer_->skipped();
    placement_ = *places;
    make_trainer().restore(last->file, last->header);
    trainer_->skipped() = std::move(skipped);
    reports.experts_moved();
    move_s_ = world_.max(seconds_since(start));
    mover_->moved(done, move_s_, reports.recording_teller());
  }

  // In the place of the one that there is, if any: what refers to it refers to the new one.
  train::Trainer& make_trainer() {
    trainer_.emplace(options_, dataset_, world_, placement_);
    trainer_->note_in(&watchdog_.whereabouts());
    if (mover_) mover_->begin();
    if (teacher_ != nullptr) trainer_->learn_from(&teacher_->teacher());
    return *trainer_;
  }

  static bool is_due(Index step, Index every) { return every > 0 && step % every == 0; }

  [[nodiscard]] double checkpoint_bytes(train::Trainer& trainer) const {
    const auto states = static_cast<double>(train::make_optimizer(options_.optimizer)->states().size());
    return static_cast<double>(trainer.model().num_parameters()) * sizeof(float) * (1.0 + states);
  }
  // How many steps' sequences are evaluated.
  [[nodiscard]] double evaluation_steps() const {
    const Index held_out = dataset_.num_sequences(train::Split::validation);
    const Index evaluated = options_.eval_sequences > 0 ? std::min(options_.eval_sequences, held_out) : held_out;
    return static_cast<double>(evaluated) / static_cast<double>(options_.sequences);
  }

  const train::StepRecord& do_step(const Saver& saver, const RunJournal& journal) {
    const Clock::time_point start = Clock::now();
    return trainer_->step([&] {
      stop_rule_.saw_step(seconds_since(start));
      if (world_.is_root() && !lock_.is_held()) return folder_is_lost;
      if (journal.has_failed()) return log_is_lost;
      const Index done = trainer_->steps_done() + 1;  // this one included
      return stopping_.request(
          stop_rule_.needed_s({.saves = saver.is_due(done), .evaluates = is_due(done, options_.eval_every)}));
    });
  }

  // All is saved.
  int stop(const std::string& reason) {
    say(fmt::format("stopped by {} after step {}; saved {}; go on with --resume {}", reason, trainer_->steps_done(),
                    saved_.string(), options_.out));
    if (world_.is_root()) {
      const std::string restart = stopping_.ask_for_restart();
      if (!restart.empty()) say(restart);
    }
    return stopped;
  }

  void say(const std::string& text) const {
    if (world_.is_root()) fmt::print(stderr, "{}\n", text);
  }

  void evaluate(RunReports& reports) {
    const Clock::time_point start = Clock::now();
    const train::Evaluation evaluation = trainer_->evaluate();
    stop_rule_.saw_evaluation(seconds_since(start));
    if (evaluation.tokens == 0) return;
    reports.evaluated(evaluation);
  }

  // Of classifiers, once the run is done: samples that no decision of the run has looked at, or, where there are none,
  // the last look at the held-out ones.
  void test(RunReports& reports) {
    if (dataset_.class_names().empty()) return;
    const bool has_test = dataset_.num_sequences(train::Split::test) > 0;
    const train::Evaluation evaluation = has_test ? trainer_->evaluate(train::Split::test, 0) : trainer_->evaluate();
    if (evaluation.tokens == 0) return;
    if (has_test) reports.tested(evaluation);
    if (!world_.is_root()) return;
    fmt::print("\n{}: loss {:.4f} {} over {}, {}\n{}", has_test ? "Test" : "Held out", evaluation.loss,
               evaluation.loss_unit, evaluation.size_text(), class_summary(evaluation.confusion, evaluation.accuracy),
               class_report(evaluation.confusion, dataset_.class_names()));
  }

  const TrainOptions& options_;
  const comm::Communicator& world_;
  const train::Samples& dataset_;
  LoadedTeacher* teacher_;
  const Stopping& stopping_;
  train::FolderLock& lock_;                // the root's
  std::vector<ExpertMap> placement_;       // of each MoE layer; empty: even runs
  std::optional<train::Trainer> trainer_;  // always there
  std::optional<ExpertMover> mover_;       // of placement = auto
  double move_s_ = 0.0;                    // that the last save took, or the last move: about what one costs
  train::Watchdog& watchdog_;
  StopRule stop_rule_;
  std::filesystem::path saved_;                   // the newest checkpoint
  std::optional<OpenedCheckpoint> resumed_from_;  // when this call began
  std::optional<OpenedCheckpoint> began_at_;      // whose parameters were the run's first
  std::map<std::string, std::string> record_;
  std::vector<std::string> router_notices_;
};

// Before anything of the model is made.
void refuse_what_does_not_fit(const TrainOptions& options, const Session& session, const train::Samples& dataset,
                              const LoadedTeacher* teacher) {
  const model::Transport transport(options.transport, session.world);
  std::vector<plan::MemoryItem> items = training_memory(options, dataset.shape(), transport, session.world);
  if (teacher != nullptr) items.push_back(teacher->memory(options, session.world));
  const std::string need = refuse_too_much_memory(session.world, items);
  if (session.world.is_root()) fmt::print(stderr, "{}\n", need);
}

// `auto` is the place that the run has come to, so that one command line serves its start and every restart. What its
// first parameters came from is then no longer asked. A start of the run that has not quite ended must not still save.
void settle_resume(const comm::Communicator& world, train::FolderLock& lock, TrainOptions& options) {
  if (options.resume != "auto") return;
  take_if_there(world, lock, options.out);
  const bool has_begun = !train::newest_checkpoint(world, options.out).file.empty();
  options.resume = has_begun ? options.out : "";
  if (has_begun) options.start = {};
}

}  // namespace

int train_model(const TrainCommand& given, const Session& session) {
  TrainOptions options = given.run;
  train::Watchdog watchdog(session.world, {options.watch.hang_timeout, options.out, "conclave train", hung});
  const Stopping stopping(options, session.world);
  train::FolderLock lock(stopping.job(), [](const std::string& text) { fmt::print(stderr, "{}\n", text); });
  settle_resume(session.world, lock, options);
  std::optional<OpenedCheckpoint> from;
  if (!options.resume.empty()) {
    from = open_checkpoint(session.world, options.resume);
    for (const std::string& change : adopt_options(from->header, session.given, options)) {
      if (session.world.is_root()) fmt::print(stderr, "{}\n", change);
    }
    if (!session.given.contains("out")) options.out = train::folder_of(from->file).string();
  }
  settle_router(session, from, options);
  train::validate(options);
  validate(given.pricing, options);
  if (options.explain_router) {
    if (session.world.is_root()) fmt::print("{}", router_explanation(options, terminal_width(stdout)));
    return 0;
  }
  take_if_there(session.world, lock, options.out);
  refuse_used_folder(session.world, options, from);
  watchdog.settle(options.watch.hang_timeout, options.out);
  std::optional<LoadedTeacher> teacher;
  if (options.distil.has_teacher()) teacher.emplace(session, options);
  apply(options.compute);
  const auto dataset = checked_samples(session.world, options);
  if (teacher) teacher->refuse_unlike(*dataset);
  LoadedTeacher* const learnt_from = teacher ? &*teacher : nullptr;
  refuse_what_does_not_fit(options, session, *dataset, learnt_from);
  Run training(options, given.pricing, session, *dataset, learnt_from, stopping, watchdog, lock);
  if (from) training.restore(*from);
  if (!options.start.init_from.empty()) {
    training.start_from(open_checkpoint(session.world, options.start.init_from));
  }
  return training.run();
}

Command train_command() {
  Command command = make_command<TrainCommand>("train", "train a mixture-of-experts model; --resume continues", "",
                                               describe_train_command, train_model);
  command.keeps_stop_signals = true;
  return command;
}

}  // namespace conclave::apps
