// SPDX-License-Identifier: BSD-3-Clause
// Whose rows stand where in a buffer that an exchange sends from or receives into.
#pragma once

#include "runtime/core/ids.hpp"

#include <algorithm>
#include <span>
#include <vector>

namespace conclave::plan {

/// Which rows of a buffer belong to which peer. A peer's rows are runs of consecutive rows, in the order in which they
/// travel; every row of the buffer belongs to one peer, and no run is empty.
class RowLayout {
 public:
  /// Peer after peer, rows[r] for peer r. InvariantError for a negative count; so below.
  [[nodiscard]] static RowLayout by_peer(std::span<const Index> rows);
  /// Segment after segment, and within a segment peer after peer; peer r has rows[r * num_segments + i] of segment i,
  /// which travel segment by segment.
  [[nodiscard]] static RowLayout by_segment(std::span<const Index> rows, Index num_peers);
  /// Become such a layout, in the memory that this one has.
  void assign_by_peer(std::span<const Index> rows) { assign_by_segment(rows, std::ssize(rows)); }
  void assign_by_segment(std::span<const Index> rows, Index num_peers);

  [[nodiscard]] Index num_peers() const { return static_cast<Index>(rows_.size()); }
  [[nodiscard]] Index num_rows() const { return num_rows_; }
  [[nodiscard]] Index rows(RankId peer) const { return rows_[static_cast<std::size_t>(peer.value())]; }
  [[nodiscard]] std::span<const Range> runs(RankId peer) const {
    const auto first = static_cast<std::size_t>(first_run_[static_cast<std::size_t>(peer.value())]);
    const auto last = static_cast<std::size_t>(first_run_[static_cast<std::size_t>(peer.value()) + 1]);
    return std::span(runs_).subspan(first, last - first);
  }
  friend bool operator==(const RowLayout&, const RowLayout&) = default;

 private:
  void append(Range run);
  void end_peer();

  Index num_rows_ = 0;
  std::vector<Index> rows_;          // [peers]
  std::vector<Range> runs_;          // by peer
  std::vector<Index> first_run_{0};  // [peers + 1]
};

/// Rows that are consecutive on both sides of an exchange.
struct Stretch {
  Index from = 0;
  Index to = 0;
  Index rows = 0;
};

/// Calls body(stretch) for the rows that travel from the runs `from` into the runs `to`, in order; both are of one
/// message, so they have as many rows.
template <class Body>
void for_each_stretch(std::span<const Range> from, std::span<const Range> to, const Body& body) {
  std::size_t f = 0;
  std::size_t t = 0;
  Index from_done = 0;  // rows of run f, and of run t, that have had their turn
  Index to_done = 0;
  while (f < from.size() && t < to.size()) {
    const Index rows = std::min(from[f].size() - from_done, to[t].size() - to_done);
    body(Stretch{from[f].begin + from_done, to[t].begin + to_done, rows});
    from_done += rows;
    to_done += rows;
    if (from_done == from[f].size()) {
      ++f;
      from_done = 0;
    }
    if (to_done == to[t].size()) {
      ++t;
      to_done = 0;
    }
  }
}

}  // namespace conclave::plan
