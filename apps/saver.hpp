// SPDX-License-Identifier: BSD-3-Clause
// When a run is saved, and what becomes of a save that fails.
#pragma once

#include "apps/run_journal.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/train/async_checkpoint.hpp"
#include "runtime/train/trainer.hpp"

namespace conclave::apps {

/// All ranks take the same decisions. All members but the constructor, is_due and
/// on_its_way_since are collective.
class Saver {
 public:
  using Texts = std::map<std::string, std::string>;
  using Tell = std::function<void(const std::string&)>;
  using Saved = std::function<void(const std::filesystem::path& file, double seconds)>;
  /// `config` and `record` are kept in the checkpoints; `tell` shows a line to the user; `saved` is told, on every
  /// rank, of each checkpoint that stands and how long it took. The first three arguments must outlive it.
  Saver(train::Trainer& trainer, const comm::Communicator& world, RunJournal& journal, Texts config, Texts record,
        Tell tell, Saved saved);

  /// Whether a step is one to save after. Not collective.
  [[nodiscard]] bool is_due(Index step) const;

  /// When a checkpoint was begun that is on its way; nothing if none is. Not collective.
  [[nodiscard]] std::optional<Clock::time_point> on_its_way_since() const {
    return async_.is_on_its_way() ? std::optional(begun_at_) : std::nullopt;
  }

  /// To be called after every step: finishes what is on its way and written, and saves if it is due. A save that fails
  /// is told, and tried again at the next due step, after five minutes at the latest; with on_save_failure = stop it is
  /// an InputError on every rank.
  void after_step(const train::StepRecord& step);
  /// Waits for what is on its way, so that the last checkpoint stands.
  void finish();
  /// The trainer has gone back to a checkpoint, or to its start: saves are due from there on.
  void go_back() { last_step_ = trainer_.steps_done(); }
  /// The end of the run, after after_step: waits for what is on its way and saves. A save that fails is tried three
  /// times; then it is an InputError on every rank.
  void at_end();

 private:
  [[nodiscard]] bool is_to_be_retried() const;
  bool attempt(const std::function<void()>& work);
  void save();
  void save_now();
  void begin();
  void settle(const std::function<std::optional<std::filesystem::path>()>& go_on);
  void choose_interval(double cost_s);

  train::Trainer& trainer_;
  const comm::Communicator& world_;
  RunJournal& journal_;
  Texts config_, record_;
  Tell tell_;
  Saved saved_;
  train::AsyncCheckpoint async_;
  Index async_step_ = 0;          // of what is on its way
  double pause_s_ = 0.0;          // that its beginning took
  Clock::time_point begun_at_{};  // then
  bool has_failed_ = false;       // a save, and none stands since
  Clock::time_point retry_at_{};  // of the root
  Index last_step_;               // saved, or where this process began
  Index interval_ = 1;    // checkpoint_every = auto: steps between saves; the first save measures what one costs
  double steps_s_ = 0.0;  // of this process' steps together
  Index num_steps_ = 0;
};

}  // namespace conclave::apps
