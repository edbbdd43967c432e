// SPDX-License-Identifier: BSD-3-Clause
// The records of a run as rows of the tables of run.h5 (see run_log.hpp).
#pragma once

#include "runtime/train/hdf5_table.hpp"
#include "runtime/train/metrics.hpp"
#include "runtime/train/row_traffic.hpp"

namespace conclave::train {

/// One row of every table of /steps.
[[nodiscard]] std::vector<Table> rows_of(const StepRecord& record);
/// A row for each of the record's drops in every table of /drops; none where it has none.
[[nodiscard]] std::vector<Table> drop_rows_of(const StepRecord& record);
/// One row of every table of /starts, of /saves, and of /exchanges.
[[nodiscard]] std::vector<Table> rows_of(const RunStart& start);
[[nodiscard]] std::vector<Table> rows_of(const SavedCheckpoint& save);
/// A row of every table of /traffic for each pair of places that rows went between, and for the first pair.
[[nodiscard]] std::vector<Table> rows_of(const TrafficRecord& traffic);
[[nodiscard]] std::vector<Table> rows_of(const ExchangeDecision& decision);
/// One row of every table of /evaluations, or, of the test part, of /tests.
[[nodiscard]] std::vector<Table> rows_of(const Evaluation& evaluation);

}  // namespace conclave::train
