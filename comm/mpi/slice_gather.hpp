// SPDX-License-Identifier: BSD-3-Clause
// Values that every rank has brought a slice of up to date, made whole on every rank (comm/plan/gather.hpp).
#pragma once

#include "comm/mpi/exchange.hpp"
#include "comm/mpi/messages.hpp"
#include "comm/plan/gather.hpp"
#include "comm/plan/reduce_plan.hpp"

namespace conclave::comm {

/// Gathers by one plan, again and again. Slices are those of a reduction. Whole blocks of a slice are one datatype
/// each, so that MPI counts blocks; a short last block is a message by itself.
template <class T>
class SliceGather {
 public:
  /// Between the exchange's ranks, from node to node of its topology, whatever its strategy. `plan` and `exchange` must
  /// outlive the object. InvariantError where they are of different numbers of ranks.
  SliceGather(const plan::ReducePlan& plan, const Exchange& exchange);

  /// `values` (plan.num_elements()), of which this rank has its slice. Collective.
  void gather(std::span<T> values);

 private:
  [[nodiscard]] RankId carrier(NodeId node, Index place) const;
  void send_on(const plan::GatherRound& round);
  void receive(const plan::GatherRound& round);
  void share(Range ages);
  void send(Messages& messages, RankId to, RankId owner) const;
  void receive(Messages& messages, RankId from, RankId owner) const;
  template <class Transfer>
  void for_each_part(RankId owner, Transfer transfer) const;

  const plan::ReducePlan& plan_;
  const plan::Topology& topology_;
  RankId me_;
  NodeId here_;
  std::vector<plan::GatherRound> rounds_;
  T* values_ = nullptr;  // while they are gathered
  RowType block_, rest_;
  Messages between_nodes_, within_node_;  // the last members: they end before their types
};

/// The same, once. Collective.
template <class T>
void all_gather_slices(const plan::ReducePlan& plan, const Exchange& exchange, std::span<T> values) {
  SliceGather<T>(plan, exchange).gather(values);
}

}  // namespace conclave::comm
