// SPDX-License-Identifier: BSD-3-Clause
// The step that a price is of, as rows of spans: from its log, so that they add up to the price.
//
// The price knows how long each part takes, on which rank, and that ranks meet at exchanges; a row says where in the
// step that is. What it takes together is drawn apart by fixed shares: forward is forward_share of a phase (of the
// copies of rows, half), and layers with experts are all alike. Of several waves each computes an even part; what is
// exposed between them lies evenly. Rows of all waves leave at once, results when their wave is done, as late as the
// layer's end allows at most: the price is less than what that takes where neither wires nor experts have time to
// spare.
#pragma once

#include "runtime/core/span.hpp"
#include "runtime/sim/step_log.hpp"
#include "runtime/sim/workload.hpp"

namespace conclave::sim {

class StepTimeline {
 public:
  /// Both must outlive it. has_experts: [blocks] which have experts. InvariantError where they are not as many as the
  /// workload's.
  StepTimeline(const StepLog& log, const Workload& workload, std::vector<bool> has_experts);

  /// Spans that hold others stand before them, and no two overlap otherwise. Each row begins at 0 and ends with the
  /// step; a slow host's waits are shorter.
  [[nodiscard]] std::vector<Span> slowest() const { return row(log_.slowest); }
  [[nodiscard]] std::vector<Span> mean() const { return row(log_.mean); }
  /// The i-th of the log's ranks.
  [[nodiscard]] std::vector<Span> of_rank(std::size_t i) const { return row(log_.of_rank.at(i)); }

  /// What is on its way between all ranks: rows, counts, parameters and reports; and the sums of gradients, which
  /// travel beside rows. No two spans of one of them overlap.
  struct Transfers {
    std::vector<Span> rows;
    std::vector<Span> sums;
  };
  [[nodiscard]] Transfers transfers() const;

 private:
  [[nodiscard]] std::vector<Span> row(const LoggedRow& row) const;

  const StepLog& log_;
  const Workload& workload_;
  std::vector<bool> has_experts_;
};

}  // namespace conclave::sim
