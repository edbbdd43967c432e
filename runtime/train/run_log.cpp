// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/run_log.hpp"

#include "runtime/core/parse_number.hpp"
#include "runtime/train/run_tables.hpp"

namespace conclave::train {
namespace {

namespace fs = std::filesystem;

Index ranks_of(const RunLog::Texts& record) {
  const auto ranks = record.find("ranks");
  return ranks == record.end() ? 0 : parse_number<Index>(ranks->second).value_or(0);
}

fs::path made(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (!error) return folder;
  throw InputError(fmt::format("cannot create the folder '{}': {}", folder.string(), error.message()),
                   "check the rights, or name another folder with --out");
}

}  // namespace

RunLog::RunLog(const fs::path& folder, Index first_step, const Texts& config, const Texts& record, double flush_every_s)
    : folder_(made(folder)),
      config_(config),
      record_(record),
      flush_every_s_(flush_every_s),
      lines_(folder_ / "metrics.jsonl"),
      tables_(folder_ / "run.h5", first_step, notices_),
      start_{first_step, ranks_of(record)},
      last_step_(first_step),
      last_evaluation_(first_step),
      last_test_(first_step) {
  if (first_step == 0) return;
  kept_bytes_ = length_up_to(folder_ / "metrics.jsonl", first_step, notices_);
  owes_evaluation_ = is_step_record(last_line(folder_ / "metrics.jsonl", kept_bytes_), first_step);
}

RunLog::~RunLog() {
  if (!has_begun_) return;
  try {
    flush();
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): a destructor can tell nobody
  }
}

void RunLog::begin() {
  if (has_begun_) return;
  tables_.begin(config_, record_);
  lines_.cut(kept_bytes_);
  has_begun_ = true;
}

template <class Record>
void RunLog::add(const Record& record, Index& last_step) {
  invariant(record.step >= last_step, "a record of step {} after one of step {}", record.step, last_step);
  const std::vector<Table> rows = rows_of(record);
  std::vector<Table> drops;
  if constexpr (std::is_same_v<Record, StepRecord>) drops = drop_rows_of(record);
  tables_.require_same_tables(rows);
  if (!drops.empty()) tables_.require_same_tables(drops);
  begin();
  if (!is_start_told_) tables_.append(rows_of(start_));
  is_start_told_ = true;
  tables_.append(rows);
  tables_.append(drops);
  pending_lines_ += to_json(record) + '\n';
  last_step = record.step;
  if (seconds_since(flushed_at_) >= flush_every_s_) flush();
}

void RunLog::append(const StepRecord& record) {
  invariant(record.step > last_step_, "step {} after step {}", record.step, last_step_);
  add(record, last_step_);
}

void RunLog::append(const Evaluation& evaluation) {
  add(evaluation, evaluation.split == Split::test ? last_test_ : last_evaluation_);
}

void RunLog::append(const SavedCheckpoint& save) {
  begin();
  tables_.append(rows_of(save));
}

void RunLog::append(const TrafficRecord& traffic) {
  const std::vector<Table> rows = rows_of(traffic);
  begin();
  tables_.append(rows);
}

void RunLog::append(const ExchangeDecision& decision) {
  begin();
  tables_.append(rows_of(decision));
}

void RunLog::flush() {
  begin();
  flushed_at_ = Clock::now();
  lines_.append(pending_lines_);
  pending_lines_.clear();
  tables_.flush();
}

}  // namespace conclave::train
