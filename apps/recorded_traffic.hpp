// SPDX-License-Identifier: BSD-3-Clause
// What a run's log tells of the rows that ranks sent one another.
#pragma once

#include "runtime/train/hdf5.hpp"

#include <optional>
#include <vector>

namespace conclave::apps {

/// Of the last steps that were counted between the same places (train::TrafficRecord).
struct RecordedTraffic {
  Index first_step = 0;
  Index last_step = 0;
  Index steps = 0;
  Index ranks = 0;
  Index nodes = 0;  // 0: places are ranks
  Index row_bytes = 0;
  std::vector<double> rows{};  // [places, places] from the tokens to their experts, of a step, mean over the steps

  [[nodiscard]] Index places() const { return nodes > 0 ? nodes : ranks; }
  /// Of a step.
  [[nodiscard]] double all_rows() const;
  /// Of these, those that go to another place.
  [[nodiscard]] double rows_away() const;
  /// What they and their results take on their way, forward and backward. [B]
  [[nodiscard]] double bytes_away() const { return 4.0 * static_cast<double>(row_bytes) * rows_away(); }
};

/// Nothing where none is recorded. InputError for a log that no run writes.
[[nodiscard]] std::optional<RecordedTraffic> recorded_traffic(const train::Hdf5File& file);

}  // namespace conclave::apps
