// SPDX-License-Identifier: BSD-3-Clause
#include "comm/plan/row_layout.hpp"

#include "runtime/core/error.hpp"
#include "runtime/core/scratch.hpp"

namespace conclave::plan {

RowLayout RowLayout::by_peer(std::span<const Index> rows) { return by_segment(rows, std::ssize(rows)); }

RowLayout RowLayout::by_segment(std::span<const Index> rows, Index num_peers) {
  RowLayout layout;
  layout.assign_by_segment(rows, num_peers);
  return layout;
}

void RowLayout::assign_by_segment(std::span<const Index> rows, Index num_peers) {
  invariant(num_peers == 0 ? rows.empty() : std::ssize(rows) % num_peers == 0, "{} counts of rows for {} peers",
            rows.size(), num_peers);
  const auto peers = static_cast<std::size_t>(num_peers);
  const std::size_t segments = num_peers == 0 ? 0 : rows.size() / peers;
  num_rows_ = 0;
  rows_.clear();
  runs_.clear();
  first_run_.assign(1, 0);
  Scratch scratch;
  const std::span<Index> begins = scratch.values<Index>(std::ssize(rows));
  for (std::size_t s = 0; s < segments; ++s) {
    for (std::size_t p = 0; p < peers; ++p) {
      const std::size_t i = p * segments + s;
      invariant(rows[i] >= 0, "an exchange of {} rows with peer {}", rows[i], p);
      begins[i] = num_rows_;
      num_rows_ += rows[i];
    }
  }
  for (std::size_t p = 0; p < peers; ++p) {
    for (std::size_t i = p * segments; i < (p + 1) * segments; ++i) append({begins[i], begins[i] + rows[i]});
    end_peer();
  }
}

// To the peer that comes after those that have ended. Runs that follow one another are one.
void RowLayout::append(Range run) {
  if (run.empty()) return;
  const bool is_first = std::ssize(runs_) == first_run_.back();
  if (!is_first && runs_.back().end == run.begin) {
    runs_.back().end = run.end;
  } else {
    runs_.push_back(run);
  }
}

void RowLayout::end_peer() {
  Index rows = 0;
  for (auto run = runs_.begin() + first_run_.back(); run != runs_.end(); ++run) rows += run->size();
  rows_.push_back(rows);
  first_run_.push_back(std::ssize(runs_));
}

}  // namespace conclave::plan
