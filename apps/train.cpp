// SPDX-License-Identifier: BSD-3-Clause
// The command `train`: trains a mixture-of-experts model, from the start or from a checkpoint.
#include "apps/class_report.hpp"
#include "apps/command.hpp"
#include "apps/exchange_report.hpp"
#include "apps/failure.hpp"
#include "apps/launch.hpp"
#include "apps/memory.hpp"
#include "apps/progress.hpp"
#include "apps/router_options.hpp"
#include "apps/run_record.hpp"
#include "apps/saver.hpp"
#include "apps/stopping.hpp"
#include "apps/summary.hpp"
#include "apps/train_options.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/model/memory_need.hpp"
#include "runtime/train/agreed.hpp"
#include "runtime/train/checkpoint_folder.hpp"
#include "runtime/train/folder_lock.hpp"
#include "runtime/train/trainer.hpp"
#include "runtime/train/watchdog.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>

namespace conclave::apps {
namespace {

using train::TrainOptions;

constexpr Index folder_is_lost = -2;  // a step's request, beside those of Stopping

// A run must not mix with another one in its folder, be it new, resumed elsewhere, or taken back to an earlier step.
void refuse_used_folder(const comm::Communicator& world, const TrainOptions& options,
                        const std::optional<OpenedCheckpoint>& from) {
  const train::FoundCheckpoint found = train::newest_checkpoint(world, options.out);
  if (found.file.empty() && found.passed_over.empty()) return;
  bool goes_on = false;
  train::on_root(world, [&] { goes_on = from && std::filesystem::equivalent(found.file, from->file); });
  if (world.any(goes_on)) return;
  if (from && !found.file.empty() && std::filesystem::path(options.out) == train::folder_of(from->file)) {
    throw InputError(fmt::format("'{}' holds a newer checkpoint than {}: {}", options.out, from->file.string(),
                                 found.file.filename().string()),
                     "to go on from the earlier one name another folder with --out, so that the newer one is not lost");
  }
  throw InputError(fmt::format("'{}' already holds checkpoints of a run", options.out),
                   fmt::format("continue it with --resume {}, or name another folder with --out", options.out));
}

void write_configuration(const comm::Communicator& world, const TrainOptions& options) {
  train::on_root(world, [&] {
    const std::filesystem::path path = std::filesystem::path(options.out) / "config.ini";
    std::error_code failed;
    std::filesystem::create_directories(options.out, failed);
    std::ofstream file(path);
    file << training_configuration(options);
    file.flush();
    if (!file)
      throw InputError(fmt::format("cannot write {}", path.string()), "check the folder's rights and free space");
  });
}

/// One call of the command: what the root shows and writes, and when the run is evaluated and saved.
class Run {
 public:
  Run(const TrainOptions& options, const Session& session, const train::Samples& dataset, const Stopping& stopping,
      train::Watchdog& watchdog, train::FolderLock& lock)
      : options_(options),
        world_(session.world),
        dataset_(dataset),
        stopping_(stopping),
        lock_(lock),
        trainer_(options, dataset, session.world),
        watchdog_(watchdog),
        stop_rule_(options.time_margin.seconds, checkpoint_bytes(), evaluation_steps()) {
    trainer_.note_in(&watchdog_.whereabouts());
    record_ = run_record(session);
    if (options.model.moe_every > 0) router_notices_ = router_notices(options.model.router, session.given);
    for (const std::string& difference : ranks_that_differ(session.world, record_)) say(difference);
  }

  void restore(const OpenedCheckpoint& from) {
    trainer_.restore(from.file, from.header);
    watchdog_.saved(from.file);
    say(fmt::format("resumed from {} after step {}", from.file.string(), trainer_.steps_done()));
    for (const std::string& difference : differences_that_change_bits(from.header.record, record_)) {
      say("the bits may differ from the run that wrote the checkpoint: " + difference);
    }
  }

  void start_from(const OpenedCheckpoint& from) {
    trainer_.start_from(from.file, from.header);
    const std::string made =
        fmt::format("{}, step {}", from.file.string(), train::integer_of(from.header, "step", from.file));
    record_["init_from"] = options_.start.upcycle ? made + ", upcycled" : made;
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
    if (trainer_.steps_done() >= last) {
      say(fmt::format("nothing to do: {} of {} steps are done", trainer_.steps_done(), last));
      return 0;
    }
    take_folder();
    write_configuration(world_, options_);
    Progress progress(trainer_.steps_done(), last, world_.is_root());
    const auto tell = [&](const std::string& text) { progress.note(text); };
    RunJournal journal(options_, trainer_.steps_done(), option_values(options_), record_, world_, tell);
    const auto saved = [&](const std::filesystem::path& file, double seconds) {
      saved_ = file;
      stop_rule_.saw_save(seconds);
      watchdog_.saved(file);
    };
    Saver saver(trainer_, world_, journal, option_values(options_), what_bits_depend_on(record_), tell, saved);
    introduce();
    if (!stopping_.notice().empty()) say(stopping_.notice());
    RunSummary summary;
    if (world_.any(journal.owes_evaluation() && is_due(trainer_.steps_done(), options_.eval_every))) {
      evaluate(progress, summary, journal);
    }
    std::string stopped_by;
    while (stopped_by.empty() && trainer_.steps_done() < last) {
      const train::StepRecord& step = do_step(saver);
      if (step.request.what == folder_is_lost) train::on_root(world_, [&] { lock_.refuse_loss(); });
      summary.add(step);
      note_choices(journal);
      journal.append(step);
      for (const std::string& alarm : step.alarms) progress.note(alarm);
      if (!step.straggler.empty()) progress.note(step.straggler);
      progress.update(step.step, fmt::format("loss {:.4f}  dropped {:.1f} %  {:.0f} tokens/s", step.loss,
                                             100.0 * step.drop_rate(), step.tokens_per_s()));
      const bool at_end = step.step == last;
      if (!at_end && step.request.what != 0) stopped_by = stopping_.reason(step.request);
      // First what must not be lost. A run that is stopped has no time for the evaluation: it is made up for later.
      if (at_end || !stopped_by.empty()) {
        saver.at_end();
      } else {
        saver.after_step(step);
      }
      if (stopped_by.empty() && (at_end || is_due(step.step, options_.eval_every)))
        evaluate(progress, summary, journal);
    }
    journal.flush();
    progress.finish();
    if (noted_choices_ > 0) say("exchange auto: " + summary_of(trainer_.exchange_choices()));
    if (world_.is_root()) fmt::print("{}", summary.text(options_, dataset_.entropy()));
    if (stopped_by.empty() && last == options_.steps) test(journal);
    journal.close();
    return stopped_by.empty() ? 0 : stop(stopped_by);
  }

  // If it was not there before: another run may have begun in it meanwhile, and even ended.
  void take_folder() {
    bool is_new = false;
    train::on_root(world_, [&] { is_new = lock_.take(options_.out); });
    if (world_.any(is_new)) refuse_used_folder(world_, options_, {});
  }

  static bool is_due(Index step, Index every) { return every > 0 && step % every == 0; }

  [[nodiscard]] double checkpoint_bytes() {
    const auto states = static_cast<double>(train::make_optimizer(options_.optimizer)->states().size());
    return static_cast<double>(trainer_.model().num_parameters()) * sizeof(float) * (1.0 + states);
  }
  // How many steps' sequences are evaluated.
  [[nodiscard]] double evaluation_steps() const {
    const Index held_out = dataset_.num_sequences(train::Split::validation);
    const Index evaluated = options_.eval_sequences > 0 ? std::min(options_.eval_sequences, held_out) : held_out;
    return static_cast<double>(evaluated) / static_cast<double>(options_.sequences);
  }

  const train::StepRecord& do_step(const Saver& saver) {
    const Clock::time_point start = Clock::now();
    return trainer_.step([&] {
      stop_rule_.saw_step(seconds_since(start));
      if (world_.is_root() && !lock_.is_held()) return folder_is_lost;
      const Index done = trainer_.steps_done() + 1;  // this one included
      return stopping_.request(
          stop_rule_.needed_s({.saves = saver.is_due(done), .evaluates = is_due(done, options_.eval_every)}));
    });
  }

  // All is saved.
  int stop(const std::string& reason) {
    say(fmt::format("stopped by {} after step {}; saved {}; go on with --resume {}", reason, trainer_.steps_done(),
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

  // How rows travel is decided in the first steps.
  void note_choices(RunJournal& journal) {
    const std::span<const comm::ExchangeChoice> choices = trainer_.exchange_choices();
    for (; noted_choices_ < choices.size(); ++noted_choices_) {
      const comm::ExchangeChoice& choice = choices[noted_choices_];
      journal.note("exchange " + choice.inbox, text_of(choice));
    }
  }

  void introduce() {
    say(fmt::format("{}: {} ranks, {} threads a rank", dataset_.description(), world_.size(), num_threads()));
    const std::string samples =
        options_.kind() == model::ModelKind::feature_classifier
            ? fmt::format("{} vectors", options_.sequences)
            : fmt::format("{} sequences of {} tokens", options_.sequences, options_.model.context);
    say(fmt::format("{} parameters; {} a step, in {} groups", trainer_.model().num_parameters(), samples,
                    options_.groups));
    if (options_.model.moe_every > 0) say(expert_costs(trainer_.model(), options_.optimizer));
    for (const std::string& notice : dataset_.notices()) say(notice);
    for (const std::string& notice : router_notices_) say(notice);
  }

  void evaluate(Progress& progress, RunSummary& summary, RunJournal& journal) {
    const Clock::time_point start = Clock::now();
    const train::Evaluation evaluation = trainer_.evaluate();
    stop_rule_.saw_evaluation(seconds_since(start));
    if (evaluation.tokens == 0) return;
    summary.add(evaluation);
    journal.append(evaluation);
    std::string note = fmt::format("step {}: held-out loss {:.4f} {} over {}", evaluation.step, evaluation.loss,
                                   evaluation.loss_unit, evaluation.size_text());
    if (evaluation.confusion.classes() > 0) {
      note += ", " + class_summary(evaluation.confusion, evaluation.accuracy);
    }
    progress.note(note);
  }

  // Of classifiers, once the run is done: samples that no decision of the run has looked at, or, where there are none,
  // the last look at the held-out ones.
  void test(RunJournal& journal) {
    if (dataset_.class_names().empty()) return;
    const bool has_test = dataset_.num_sequences(train::Split::test) > 0;
    const train::Evaluation evaluation = has_test ? trainer_.evaluate(train::Split::test, 0) : trainer_.evaluate();
    if (evaluation.tokens == 0) return;
    if (has_test) journal.append(evaluation);
    if (!world_.is_root()) return;
    fmt::print("\n{}: loss {:.4f} {} over {}, {}\n{}", has_test ? "Test" : "Held out", evaluation.loss,
               evaluation.loss_unit, evaluation.size_text(), class_summary(evaluation.confusion, evaluation.accuracy),
               class_report(evaluation.confusion, dataset_.class_names()));
  }

  const TrainOptions& options_;
  const comm::Communicator& world_;
  const train::Samples& dataset_;
  const Stopping& stopping_;
  train::FolderLock& lock_;  // the root's
  train::Trainer trainer_;
  train::Watchdog& watchdog_;
  StopRule stop_rule_;
  std::filesystem::path saved_;  // the newest checkpoint of this call
  std::map<std::string, std::string> record_;
  std::size_t noted_choices_ = 0;
  std::vector<std::string> router_notices_;
};

// Before anything of the model is made.
void refuse_what_does_not_fit(const TrainOptions& options, const Session& session, const train::Samples& dataset) {
  const model::Transport transport(options.transport, session.world);
  const model::RunSizes sizes{
      .transport = transport.row_transport(),
      .groups_in_pass = options.groups_in_pass(),
      .group_rows = options.sequences_in_group() * dataset.tokens_in_sample(),
      .num_states = std::ssize(train::make_optimizer(options.optimizer)->states()),
      .threads = num_threads(),
      .checkpoint_copy = options.checkpoint_async,
  };
  const std::string need = refuse_too_much_memory(
      session.world, model::memory_need(options.model, dataset.shape(), sizes, session.world.rank()));
  if (session.world.is_root()) fmt::print(stderr, "{}\n", need);
}

// A folder that is not there is made only once the run begins, so that one that is refused leaves none.
void take_if_there(const comm::Communicator& world, train::FolderLock& lock, const std::filesystem::path& folder) {
  train::on_root(world, [&] {
    if (std::filesystem::exists(folder)) lock.take(folder);
  });
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

int run(const TrainOptions& given, const Session& session) {
  TrainOptions options = given;
  train::Watchdog watchdog(session.world, {given.watch.hang_timeout, given.out, "conclave train", hung});
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
  if (options.explain_router) {
    if (session.world.is_root()) fmt::print("{}", router_explanation(options, terminal_width(stdout)));
    return 0;
  }
  take_if_there(session.world, lock, options.out);
  refuse_used_folder(session.world, options, from);
  watchdog.settle(options.watch.hang_timeout, options.out);
  apply(options.compute);
  std::unique_ptr<train::Samples> dataset;
  train::agreed(session.world, [&] { dataset = make_samples(options); });
  refuse_unknown_domains(options.model, *dataset);
  refuse_what_does_not_fit(options, session, *dataset);
  Run training(options, session, *dataset, stopping, watchdog, lock);
  if (from) training.restore(*from);
  if (!options.start.init_from.empty()) {
    training.start_from(open_checkpoint(session.world, options.start.init_from));
  }
  return training.run();
}

}  // namespace

Command train_command() {
  return make_command<TrainOptions>("train", "train a mixture-of-experts model; --resume continues", "",
                                    describe_training, run);
}

}  // namespace conclave::apps
