// SPDX-License-Identifier: BSD-3-Clause
// Where the rows of a rank's tokens stand when they travel to the experts.
#pragma once

#include "gating/routing.hpp"

#include <vector>

namespace conclave::gating {

/// Some of the claims on an expert that a run of consecutive groups keeps, in the order of their tokens.
struct ClaimRun {
  ExpertId expert;
  Index first = 0;  // of the claims on the expert
  Index rows = 0;
};

/// Writes how many claims on each expert are kept: [num_experts].
template <class T>
void count_claims(std::span<const Routing<T>* const> routings, std::span<Index> claims);

/// The rows that a run of consecutive groups sends: one for each kept choice, ordered by expert (in the order given),
/// then by token. Dispatch, combine and both of their backwards are read off this one table.
class DispatchPlan {
 public:
  DispatchPlan() = default;
  /// routings: one a group, all of the same number of tokens. expert_order: every expert once. InvariantError if not.
  template <class T>
  DispatchPlan(const std::vector<const Routing<T>*>& routings, std::span<const ExpertId> expert_order) {
    assign<T>(routings, expert_order);
  }
  /// Another plan in the memory of this one.
  template <class T>
  void assign(std::span<const Routing<T>* const> routings, std::span<const ExpertId> expert_order);
  /// The same where the claims on an expert may be sent in several runs: `order` has each claim in one of them.
  template <class T>
  void assign(std::span<const Routing<T>* const> routings, Index num_experts, std::span<const ClaimRun> order);

  [[nodiscard]] Index num_rows() const { return static_cast<Index>(token_of_row_.size()); }
  [[nodiscard]] Index num_tokens() const { return static_cast<Index>(first_choice_.size()) - 1; }
  /// The token (within the run of groups) that a row is a copy of.
  [[nodiscard]] Index token_of_row(Index row) const { return token_of_row_[static_cast<std::size_t>(row)]; }
  [[nodiscard]] const std::vector<Index>& tokens_of_rows() const { return token_of_row_; }
  /// Kept choices of all groups are numbered by token, then by choice: token t's are [first, last).
  [[nodiscard]] Range choices_of(Index token) const {
    return {first_choice_[static_cast<std::size_t>(token)], first_choice_[static_cast<std::size_t>(token) + 1]};
  }
  /// The row of a kept choice.
  [[nodiscard]] Index row_of_choice(Index choice) const { return row_of_choice_[static_cast<std::size_t>(choice)]; }
  /// Rows by place in the order.
  [[nodiscard]] const std::vector<Index>& rows_per_expert() const { return rows_per_expert_; }

 private:
  std::vector<Index> token_of_row_;     // [rows]
  std::vector<Index> row_of_choice_;    // [rows] too: one row a kept choice
  std::vector<Index> first_choice_{0};  // [num_tokens + 1]
  std::vector<Index> rows_per_expert_;  // [places in the order]
};

}  // namespace conclave::gating
