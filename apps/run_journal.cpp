// SPDX-License-Identifier: BSD-3-Clause
#include "apps/run_journal.hpp"

#include "runtime/train/agreed.hpp"

namespace conclave::apps {

RunJournal::RunJournal(const train::TrainOptions& options, Index first_step, const train::RunLog::Texts& config,
                       const train::RunLog::Texts& record, const comm::Communicator& world, Tell tell)
    : world_(world),
      folder_(options.out),
      config_(config),
      record_(record),
      on_failure_(options.on_save_failure),
      tell_(std::move(tell)) {
  train::on_root(world_, [&] { open(first_step); });
}

void RunJournal::open(Index first_step) {
  log_.emplace(folder_, first_step, config_, record_);
  for (const std::string& notice : log_->notices()) tell_(notice);
}

void RunJournal::attempt(const std::function<void()>& work) {
  if (!log_ || failure_) return;
  try {
    work();
    has_begun_ = true;
  } catch (const train::OtherLog&) {  // the record was not taken: to go on would lose it and all of its kind
    failure_ = std::current_exception();
    return;
  } catch (const InputError& error) {
    // What fails at the very first record is a folder that will not do, not one that has become full.
    if (on_failure_ == train::OnSaveFailure::stop || !has_begun_) {
      failure_ = std::current_exception();
      return;
    }
    if (!is_behind_) tell_(fmt::format("the run goes on without its log, which is tried again: {}", error.what()));
    is_behind_ = true;
    return;
  }
  if (!is_behind_ || log_->has_unwritten()) return;
  tell_("the log is complete again");
  is_behind_ = false;
}

void RunJournal::record_routing(const std::filesystem::path& file, const gating::RoutingSizes& sizes,
                                Index first_step) {
  if (log_) routing_.emplace(file, sizes, first_step);
}

void RunJournal::append(const train::StepRecord& record) {
  attempt([&] {
    if (routing_ && record.routing) routing_->append(*record.routing);
    log_->append(record);
    if (routing_) routing_->flush();
  });
}

void RunJournal::append(const train::Evaluation& evaluation) {
  attempt([&] { log_->append(evaluation); });
}

void RunJournal::append(const train::SavedCheckpoint& save) {
  attempt([&] { log_->append(save); });
}

void RunJournal::append(const train::TrafficRecord& traffic) {
  attempt([&] { log_->append(traffic); });
}

void RunJournal::append(const train::ExchangeDecision& decision) {
  attempt([&] { log_->append(decision); });
}

void RunJournal::note(const std::string& name, const std::string& value) {
  if (log_) log_->note(name, value);
}

void RunJournal::flush() {
  attempt([&] {
    if (routing_) routing_->flush();
    log_->flush();
  });
}

void RunJournal::refuse_failure() {
  train::on_root(world_, [&] {
    if (failure_) std::rethrow_exception(failure_);
  });
}

void RunJournal::go_back(Index step) {
  train::on_root(world_, [&] {
    log_.reset();  // what it writes last belongs to the log that is opened then
    open(step);
    if (routing_) routing_->go_back(step);
  });
}

void RunJournal::close() {
  refuse_failure();
  train::on_root(world_, [&] {
    if (routing_) routing_->flush();
    if (log_) log_->flush();
  });
}

}  // namespace conclave::apps
