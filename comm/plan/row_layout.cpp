// SPDX-License-Identifier: BSD-3-Clause
#include "comm/plan/row_layout.hpp"

#include "runtime/core/error.hpp"

namespace conclave::plan {

RowLayout RowLayout::by_peer(std::span<const Index> rows) { return by_segment(rows, std::ssize(rows)); }

RowLayout RowLayout::by_segment(std::span<const Index> rows, Index num_peers) {
  invariant(num_peers == 0 ? rows.empty() : std::ssize(rows) % num_peers == 0, "{} counts of rows for {} peers",
            rows.size(), num_peers);
  const auto peers = static_cast<std::size_t>(num_peers);
  const std::size_t segments = num_peers == 0 ? 0 : rows.size() / peers;
  RowLayout layout;
  std::vector<Index> begins(rows.size());
  for (std::size_t s = 0; s < segments; ++s) {
    for (std::size_t p = 0; p < peers; ++p) {
      const std::size_t i = p * segments + s;
      invariant(rows[i] >= 0, "an exchange of {} rows with peer {}", rows[i], p);
      begins[i] = layout.num_rows_;
      layout.num_rows_ += rows[i];
    }
  }
  for (std::size_t p = 0; p < peers; ++p) {
    for (std::size_t i = p * segments; i < (p + 1) * segments; ++i) layout.append({begins[i], begins[i] + rows[i]});
    layout.end_peer();
  }
  return layout;
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
