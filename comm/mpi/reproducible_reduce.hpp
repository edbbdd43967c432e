// SPDX-License-Identifier: BSD-3-Clause
// Sums across groups with the same bits on any number of ranks (runtime/core/reduction_tree.hpp).
#pragma once

#include "comm/mpi/exchange.hpp"
#include "comm/plan/reduce_plan.hpp"

namespace conclave::comm {

/// Reduces by one plan, again and again: start, wait, finish. start and wait are collective; between them the partial
/// sums travel.
template <class T>
class ReduceScatter {
 public:
  /// `plan` and `exchange` must outlive the object. Collective.
  ReduceScatter(const plan::ReducePlan& plan, const Communicator& communicator, const Exchange& exchange);

  /// partial_sums[i] (plan.num_elements() values) is this rank's sum over its i-th piece. They are free to change as
  /// soon as this returns. A rank sends (pieces of its run) x (elements - its slice) values: as many as a ring where
  /// runs are subtrees.
  void start(std::span<const std::span<const T>> partial_sums);
  /// Makes progress; whether wait would return at once.
  [[nodiscard]] bool test() { return inbox_->test(); }
  void wait() { inbox_->wait(); }
  /// Of the sums' way, as of an Inbox.
  [[nodiscard]] Clock::time_point started_at() const { return inbox_->started_at(); }
  [[nodiscard]] double hidden_s() const { return inbox_->hidden_s(); }
  /// Adds the sum over all groups of this rank's slice to `slice` (plan.slice_of(rank) values).
  void finish(std::span<T> slice);

 private:
  void find_sums();

  const plan::ReducePlan& plan_;
  RankId rank_;
  std::unique_ptr<Inbox> inbox_;
  plan::ExchangeShape shape_;
  std::vector<T*> sums_;  // [num_groups] where the piece that begins with a group stands; null where none does
};

/// The same, once. Collective.
template <class T>
void reduce_scatter(const plan::ReducePlan& plan, const Communicator& communicator, const Exchange& exchange,
                    std::span<const std::span<const T>> partial_sums, std::span<T> slice);

}  // namespace conclave::comm
