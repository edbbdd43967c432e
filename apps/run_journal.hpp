// SPDX-License-Identifier: BSD-3-Clause
// The log of a run that goes on where the log cannot be written.
#pragma once

#include "runtime/train/options.hpp"
#include "runtime/train/routing_file.hpp"
#include "runtime/train/run_log.hpp"

#include <exception>
#include <functional>
#include <optional>

namespace conclave::apps {

/// The root's log; for the other ranks all but close does nothing. Once a record has been written, records that cannot
/// be are kept in memory and tried again with the next ones. What cannot be got over is a failure at the first record,
/// any where options.on_save_failure is `stop`, and OtherLog: the root keeps it until all ranks ask together.
class RunJournal {
 public:
  using Tell = std::function<void(const std::string&)>;
  /// Opens the log of a run in options.out after `first_step`; `tell` shows a line to the user. InputError as RunLog,
  /// on every rank. `world` must outlive it. Collective.
  RunJournal(const train::TrainOptions& options, Index first_step, const train::RunLog::Texts& config,
             const train::RunLog::Texts& record, const comm::Communicator& world, Tell tell);

  /// From now on the records' routing is kept in this file too. InputError on the root as RoutingFile.
  void record_routing(const std::filesystem::path& file, const gating::RoutingSizes& sizes, Index first_step);

  void append(const train::StepRecord& record);
  void append(const train::Evaluation& evaluation);
  void append(const train::SavedCheckpoint& save);
  void append(const train::TrafficRecord& traffic);
  void append(const train::ExchangeDecision& decision);
  void note(const std::string& name, const std::string& value);
  void flush();
  /// Whether something failed that cannot be got over; false on the ranks that are not the root.
  [[nodiscard]] bool has_failed() const { return failure_ != nullptr; }
  /// Throws that on every rank, if there is any. Collective.
  void refuse_failure();
  /// The run has gone back to the end of `step`: forgets the records after it, in the files too once others follow.
  /// InputError as RunLog, on every rank. Collective.
  void go_back(Index step);
  /// As RunLog, on the root; false on the other ranks.
  [[nodiscard]] bool owes_evaluation() const { return log_ && log_->owes_evaluation(); }
  /// The end of the run: as refuse_failure, and InputError on every rank if records are still not on the disk.
  /// Collective.
  void close();

 private:
  void attempt(const std::function<void()>& work);
  void open(Index first_step);

  const comm::Communicator& world_;
  std::filesystem::path folder_;
  train::RunLog::Texts config_, record_;
  train::OnSaveFailure on_failure_;
  Tell tell_;
  std::optional<train::RunLog> log_;
  std::optional<train::RoutingFile> routing_;
  bool has_begun_ = false;  // something has been written
  std::exception_ptr failure_;
  bool is_behind_ = false;  // what should have been written was not
};

}  // namespace conclave::apps
