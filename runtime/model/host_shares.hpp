// SPDX-License-Identifier: BSD-3-Clause
// Which of a rank's claims on a replicated expert go to which of its hosts.
#pragma once

#include "comm/mpi/communicator.hpp"
#include "experts/row_cut.hpp"
#include "runtime/core/expert_map.hpp"

#include <span>
#include <vector>

namespace conclave::model {

/// An expert's rows of a step, from all ranks, stand in the global order of their tokens, and each host takes those of
/// its segments (experts/row_cut.hpp). Ranks hold consecutive runs of tokens: so a rank's rows of the expert are
/// consecutive too, and what it sends to a host.
class HostShares {
 public:
  /// `map` must outlive the object.
  HostShares(const ExpertMap& map, Index block_rows);

  /// claims[e]: the rows that this rank has for expert e in the step. Collective where experts have replicas: P counts
  /// of each of these travel.
  void update(const comm::Communicator& communicator, std::span<const Index> claims);

  /// Of this rank's rows for the expert those that its host `host` gets; numbered among them.
  [[nodiscard]] Range rows_for(ExpertId expert, Index host) const;
  /// The rows that an expert gets from all ranks; nothing is known of one without replicas.
  [[nodiscard]] Index rows_of_replicated(ExpertId expert) const { return of(expert).all; }

 private:
  struct Rows {
    Index own = 0;     // of this rank
    Index before = 0;  // of the ranks before it
    Index all = 0;
  };
  [[nodiscard]] const Rows& of(ExpertId expert) const { return rows_[static_cast<std::size_t>(expert.value())]; }

  const ExpertMap& map_;
  Index block_rows_;
  std::vector<Rows> rows_;  // [num_experts]; before and all of those with replicas alone
};

}  // namespace conclave::model
