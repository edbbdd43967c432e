// SPDX-License-Identifier: BSD-3-Clause
// What the hosts of an expert send one another: gradients to its home, values from there.
#pragma once

#include "comm/mpi/messages.hpp"
#include "experts/expert_shard.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/core/expert_map.hpp"
#include "runtime/core/trace.hpp"

#include <deque>
#include <optional>
#include <vector>

namespace conclave::model {

/// The replicas of one layer. Messages run between the hosts of an expert alone; ranks that host nothing that has
/// replicas send and wait for nothing.
template <class T>
class ReplicaTraffic {
 public:
  /// The experts that `map` has the communicator's ranks host, of which this rank's are in `shard`; all must outlive
  /// the object. `layer` tells its messages from those of other layers.
  ReplicaTraffic(const ExpertMap& map, experts::ExpertShard<T>& shard, const comm::Communicator& communicator,
                 Index layer);

  /// After the shard's backward_weights of a step's pass: each replica's partial sums set out for home. Every rank must
  /// call it, then finish_sums. A replica sends at most (sums of its run of segments) x (the expert's parameters).
  void start_sums();
  /// Makes progress on them.
  void poll();
  /// Adds them to the gradients of the experts that are at home here. What it waits is Phase::wait of `times`, which
  /// is told of their way.
  void finish_sums(PhaseTimes& times);

  /// Gives the replicas of each expert the values that it has at home. Every rank must call it.
  void share_values();

 private:
  struct Replicated {  // of the experts that this rank hosts
    LocalExpertId local;
    HostedExpert hosting;
    comm::RowType parameters;
    Replicated(LocalExpertId expert, const HostedExpert& hosted, Index num_parameters)
        : local(expert), hosting(hosted), parameters(num_parameters, comm::mpi_type<T>()) {}
  };
  [[nodiscard]] RankId rank_of(const Replicated& expert, Index host) const {
    return map_.hosts(expert.hosting.id)[static_cast<std::size_t>(host)];
  }
  void note_hidden();

  const ExpertMap& map_;
  experts::ExpertShard<T>& shard_;
  std::deque<Replicated> replicated_;
  Clock::time_point started_at_{};
  std::optional<double> hidden_s_;  // once it is known
  comm::Messages sums_;
  comm::Messages values_;
};

}  // namespace conclave::model
