// SPDX-License-Identifier: BSD-3-Clause
// The log of a run: its metrics as they come, one line of JSON a record in metrics.jsonl, and as tables in run.h5.
//
// run.h5, for scripts. Any HDF5 reader (1.10 or later) may open it while the run is on or after it was killed: it holds
// whole records, up to the last flush. Open it anew to see more; without file locks, read it at once and close it. Row
// i of all tables of a group belongs together.
//   /config, /record        attributes: the options, and what computed the run (the latest process if it was resumed);
//                           "exchange NAME": how the rows of an exchange travelled, if that was measured; "save_s":
//                           seconds for which the first save stopped the run, if there was one before its end
//   /steps/step             [n] int64    steps done, this one included; ascending
//   /steps/tokens           [n] int64
//   /steps/loss             [n] float64  nats/token; of a classifier nats/sample
//   /steps/router_loss, gradient_norm, learning_rate      [n] float64
//   /steps/seconds          [n] float64  of the slowest rank
//   /steps/tokens_per_s     [n] float64
//   /steps/drop_rate        [n] float64  0 to 1
//   /steps/skipped          [n] int64    1: the step changed nothing, and its other numbers do not count
//   /steps/phases           [n, phases, 3] float64, s  min, mean and max over ranks; its attributes "phases" and
//                           "columns" name the phases and the three numbers, with commas between
//   /steps/communication    [n, 3] float64, s  for how long data was on its way between ranks, of each exchange by
//                           itself: min, mean and max over ranks; the phase "wait" is what of it nothing hid
//   /steps/attribution      [n, 4] float64, s  where the step's time went, mean over ranks: compute, exposed
//                           (communication that nothing hid), imbalance (waiting for the slowest rank), io (data, and
//                           saves since the step before)
//   /steps/slowest_rank     [n] int64  the rank that the others waited for longest
//   /steps/waited_s         [n] float64, s  that they waited for it, of the imbalance
//   /steps/slowest_stretch  [n] int64  for what of it most: 0 data, 1 what it does outside of MoE layers, 2 + 2 l what
//                           it does in MoE layer l for its own tokens, 3 + 2 l its experts there
//   /steps/slowest_expert   [n] int64  the fullest of these experts; -1: it was not for experts
//   /steps/layer_attribution                              [n, blocks, 3] float64, s  compute, exposed, imbalance
//   /steps/load             [n, layers, experts] int64  claims before capacity
//   /steps/over_capacity, refused_second, rerouted        [n, layers] int64  claims
//   /steps/unchosen, unserved                             [n, layers] int64  tokens
//   /steps/imbalance, effective_experts                   [n, layers] float64
//   /steps/balance, z, importance                         [n, layers] float64  losses without their coefficients
//   /steps/entropy          [n, layers] float64, nats
//   /evaluations/step, tokens                             [m] int64
//   /evaluations/loss, accuracy                           [m] float64  nats/token or nats/sample; 0 to 1
//   /evaluations/macro_f1                                 [m] float64, 0 to 1
//   /evaluations/confusion  [m, classes, classes] int64, samples  a row a true class, a column a predicted one
//   /evaluations/domain_information                       [m, layers] float64, 0 to 1
//   /evaluations/layer_agreement                          [m, layers - 1] float64, 0 to 1
//   /tests/...              as /evaluations, of the test part
//   /drops/step, layer, token, choice, expert, reason     [d] int64  the drop ledger, by step, layer, token and choice,
//                           if the run keeps it; the attribute "reasons" of reason names them
//   /starts/step, ranks     [k] int64    a row for each process that began, resumed or went back: steps done then; the
//                           group comes with the first record of a step
//   /saves/step             [c] int64    checkpoints that stood, also those that were removed since
//   /saves/seconds          [c] float64
//   /exchanges/step         [x] int64    a row for each exchange of which it was decided how its rows travel, by
//                           measuring in the first steps of a process: the last of them
//   /traffic                [t] int64    a row for each pair of places that rows of tokens went between in some steps:
//     step, steps           the last of these steps, and how many they are
//     ranks, nodes          ranks then; nodes = 0: places are ranks; else they are nodes, of which there were so many
//     from, to              the place of the tokens, and that of their experts
//     rows                  copies of tokens for experts, over all passes and MoE layers. Their results come back, and
//                           backward moves as many rows both ways once more
//     row_bytes             [B] of a row, each time. All depends on the ranks and on where experts are. Not of more
//                           than 64 nodes, and not of evaluations
// Every dataset has the attributes "unit" ("1": a plain number) and "meaning". A group comes with its first record. A
// run without MoE layers has no tables with a dimension of layers (one with a single one no layer_agreement), data
// without known domains no domain_information, data without classes no macro_f1 and confusion; a log that was begun by
// a version without attribution has no such tables.
#pragma once

#include "runtime/core/clock.hpp"
#include "runtime/train/line_file.hpp"
#include "runtime/train/metrics.hpp"
#include "runtime/train/row_traffic.hpp"
#include "runtime/train/run_file.hpp"

namespace conclave::train {

/// Written by one process, the root. Numbers that are not finite are null in metrics.jsonl, themselves in run.h5.
class RunLog {
 public:
  using Texts = std::map<std::string, std::string>;

  /// Opens or creates the log in `folder` (created if missing). Records of steps after `first_step` (of a run that was
  /// cut and is resumed) are removed from both files; 0 begins a new log. That is done by the first append or flush, so
  /// that a run that fails before, or does not fit the log, leaves it as it was. A damaged run.h5 is renamed, and a new
  /// one begun. Appends flush when `flush_every_s` seconds [s] have passed. InputError if the folder cannot be used.
  RunLog(const std::filesystem::path& folder, Index first_step, const Texts& config, const Texts& record,
         double flush_every_s = 5.0);
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;
  /// Flushes, and keeps a failure to itself: call flush() to hear of it.
  ~RunLog();

  /// Adds a record; steps ascend. OtherLog, and the record is not taken, if the log in the folder has other tables: of
  /// a run with other MoE layers or of another version. InputError, when it flushes, if the disk is full.
  void append(const StepRecord& record);
  void append(const Evaluation& evaluation);
  /// Of run.h5 alone; written with the next flush.
  void append(const SavedCheckpoint& save);
  /// The same; of as many steps as have been appended.
  void append(const TrafficRecord& traffic);
  void append(const ExchangeDecision& decision);
  /// Adds to /record what was learnt while the run was on; kept with the next record, once for each name.
  void note(const std::string& name, const std::string& value) { tables_.note(name, value); }
  /// Hands all records to the operating system. Call it before a checkpoint is saved: a resumed run's log then has no
  /// gap.
  void flush();

  /// Whether the log that was found ends with the training step that the run goes on from, so that an evaluation that
  /// was due after it is missing: the run was cut before that.
  [[nodiscard]] bool owes_evaluation() const { return owes_evaluation_; }
  /// Whether a flush that failed has left records that are only in memory, or none has been tried since they came.
  [[nodiscard]] bool has_unwritten() const { return !pending_lines_.empty() || tables_.has_pending(); }

  /// What a person should know about the log that was found, from the constructor on.
  [[nodiscard]] const std::vector<std::string>& notices() const { return notices_; }

 private:
  template <class Record>
  void add(const Record& record, Index& last_step);
  void begin();

  std::filesystem::path folder_;
  Texts config_, record_;
  double flush_every_s_;
  std::vector<std::string> notices_;
  LineFile lines_;
  Index kept_bytes_ = 0;  // of metrics.jsonl
  RunFile tables_;
  std::string pending_lines_;
  bool owes_evaluation_ = false;
  bool has_begun_ = false;
  RunStart start_;
  bool is_start_told_ = false;
  Index last_step_, last_evaluation_, last_test_;
  Clock::time_point flushed_at_ = Clock::now();
};

}  // namespace conclave::train
