// SPDX-License-Identifier: BSD-3-Clause
// What a training run tells while it is on: on the terminal, in its log, in its file for Prometheus, and in the summary
// that closes it.
#pragma once

#include "apps/metrics_textfile.hpp"
#include "apps/progress.hpp"
#include "apps/run_journal.hpp"
#include "apps/summary.hpp"
#include "runtime/train/trainer.hpp"

namespace conclave::apps {

/// Made and told the same things on every rank; the root shows and writes them.
class RunReports {
 public:
  /// Of the steps after those that the trainer has done, up to `last`. Opens the log in options.out, and the file of
  /// recorded routing where one is asked for: InputError on every rank as RunJournal and RoutingFile. The first three
  /// must outlive it. Collective.
  RunReports(const train::TrainOptions& options, const comm::Communicator& world, train::Trainer& trainer, Index last,
             const train::RunLog::Texts& record);

  /// A line for the user, at once.
  void note(const std::string& text) { progress_.note(text); }
  /// The same, as a function that refers to this.
  [[nodiscard]] std::function<void(const std::string&)> teller() {
    return [this](const std::string& text) { note(text); };
  }
  /// Adds to the run's record.
  void record(const std::string& name, const std::string& text) { journal_.note(name, text); }
  /// The same, as a function that refers to this; recording_teller's gives the user a line, too.
  using Recorder = std::function<void(const std::string& name, const std::string& text)>;
  [[nodiscard]] Recorder recorder() {
    return [this](const std::string& name, const std::string& text) { record(name, text); };
  }
  [[nodiscard]] Recorder recording_teller() {
    return [this](const std::string& name, const std::string& text) {
      note(fmt::format("{}: {}", name, text));
      record(name, text);
    };
  }
  /// What is trained on how many ranks.
  void introduce(const train::Samples& data, std::span<const std::string> notices);

  void step_done(const train::StepRecord& step);
  /// Of the validation part, while the run is on.
  void evaluated(const train::Evaluation& evaluation);
  /// Of the test part, at its end.
  void tested(const train::Evaluation& evaluation) { journal_.append(evaluation); }
  void saved(const train::SavedCheckpoint& save);
  /// What ranks have sent one another since this was last called. Collective.
  void record_traffic();
  /// The trainer is a new one, that has done fewer steps. InputError as RunJournal. Collective.
  void gone_back();
  /// The trainer is a new one, with its experts elsewhere.
  void experts_moved();

  /// The log, for what saves beside it and for what goes wrong in it.
  [[nodiscard]] RunJournal& journal() { return journal_; }
  [[nodiscard]] const RunJournal& journal() const { return journal_; }

  /// No step follows: all that was told is shown and written.
  void finish();
  /// After finish: the summary, on standard output. The arguments are as of RunSummary.
  void summarise(std::optional<double> entropy, std::span<const ExpertMap> maps);

 private:
  void note_choices(Index step);

  const train::TrainOptions& options_;
  const comm::Communicator& world_;
  train::Trainer& trainer_;
  Progress progress_;
  RunJournal journal_;
  MetricsTextfile textfile_;
  RunSummary summary_;
  std::size_t noted_choices_ = 0;  // of the trainer's, of how rows travel
};

}  // namespace conclave::apps
