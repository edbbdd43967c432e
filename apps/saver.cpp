// SPDX-License-Identifier: BSD-3-Clause
#include "apps/saver.hpp"

#include "apps/progress.hpp"
#include "runtime/train/save_interval.hpp"

#include <thread>

namespace conclave::apps {
namespace {

constexpr auto longest_wait = std::chrono::minutes(5);  // from a save that failed to the next try
constexpr auto pause_at_end = std::chrono::seconds(5);
constexpr int tries_at_end = 3;

}  // namespace

Saver::Saver(train::Trainer& trainer, const comm::Communicator& world, RunJournal& journal, Texts config, Texts record,
             Tell tell, Saved saved)
    : trainer_(trainer),
      world_(world),
      journal_(journal),
      config_(std::move(config)),
      record_(std::move(record)),
      tell_(std::move(tell)),
      saved_(std::move(saved)),
      async_(world),
      last_step_(trainer.steps_done()) {}

bool Saver::is_due(Index step) const {
  const std::optional<Index>& every = trainer_.options().checkpoint_every;
  if (!every) return step - last_step_ >= interval_;
  return *every > 0 && step % *every == 0;
}

bool Saver::is_to_be_retried() const {
  return has_failed_ && !async_.is_on_its_way() && world_.any(world_.is_root() && Clock::now() >= retry_at_);
}

void Saver::after_step(const train::StepRecord& step) {
  steps_s_ += step.seconds;
  ++num_steps_;
  const Clock::time_point start = Clock::now();
  if (async_.is_on_its_way()) settle([&] { return async_.advance(); });
  if (is_due(step.step) || is_to_be_retried()) save();
  trainer_.add_saving(seconds_since(start));
}

bool Saver::attempt(const std::function<void()>& work) {
  try {
    work();
  } catch (const InputError& error) {
    if (trainer_.options().on_save_failure == train::OnSaveFailure::stop) throw;
    const Index step = trainer_.steps_done();
    tell_(fmt::format("step {}: not saved; the run goes on and tries again: {}", step, error.what()));
    if (!has_failed_) journal_.note(fmt::format("not saved from step {}", step), error.what());
    has_failed_ = true;
    retry_at_ = Clock::now() + longest_wait;
    return false;
  }
  return true;
}

void Saver::save() {
  const Clock::time_point start = Clock::now();
  finish();
  last_step_ = trainer_.steps_done();
  const bool is_done = attempt([&] {
    if (trainer_.options().checkpoint_async) {
      begin();
    } else {
      save_now();
    }
  });
  if (!is_done) return;
  journal_.note("save_s", fmt::format("{}", seconds_since(start)));
  choose_interval(seconds_since(start));
}

void Saver::save_now() {
  const Clock::time_point start = Clock::now();
  const std::filesystem::path file = trainer_.save(config_, record_);
  has_failed_ = false;
  saved_(file, seconds_since(start));
  tell_(fmt::format("step {}: saved {}", trainer_.steps_done(), file.string()));
}

void Saver::begin() {
  begun_at_ = Clock::now();
  trainer_.begin_save(async_, config_, record_);
  async_step_ = trainer_.steps_done();
  pause_s_ = seconds_since(begun_at_);
}

void Saver::settle(const std::function<std::optional<std::filesystem::path>()>& go_on) {
  attempt([&] {
    const std::optional<std::filesystem::path> file = go_on();
    if (!file) return;
    has_failed_ = false;
    saved_(*file, seconds_since(begun_at_));
    tell_(fmt::format("step {}: saved {} of step {} in {:.2f} s, for which the run stopped {:.3f} s",
                      trainer_.steps_done(), file->string(), async_step_, seconds_since(begun_at_), pause_s_));
  });
}

void Saver::choose_interval(double cost_s) {
  const train::TrainOptions& options = trainer_.options();
  if (options.checkpoint_every) return;
  const double step_s = steps_s_ / static_cast<double>(num_steps_);
  const double agreed_cost_s = world_.max(cost_s);
  const Index interval = train::young_interval(agreed_cost_s, options.mtbf.seconds, step_s);
  if (interval == interval_) return;
  interval_ = interval;
  tell_(fmt::format(
      "saves every {} steps: one stops the run for {:.3g} s, a step takes {:.3g} s, and failures are {} apart",
      interval, agreed_cost_s, step_s, time_text(options.mtbf.seconds)));
}

void Saver::finish() {
  journal_.flush();
  if (async_.is_on_its_way()) settle([&] { return async_.finish(); });
}

void Saver::at_end() {
  finish();
  for (int tries = 1; !attempt([&] { save_now(); }); ++tries) {
    if (tries == tries_at_end) {
      throw InputError(fmt::format("the end of the run, step {}, could not be saved", trainer_.steps_done()),
                       "make room and go on from the last checkpoint with --resume");
    }
    std::this_thread::sleep_for(pause_at_end);
  }
}

}  // namespace conclave::apps
