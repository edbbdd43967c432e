// SPDX-License-Identifier: BSD-3-Clause
// One rank's view of a layer's dispatch: which rows go to and come from each peer, and where they stand at the experts.
#pragma once

#include "comm/mpi/communicator.hpp"
#include "runtime/core/expert_map.hpp"

namespace conclave::model {

/// Rows are sent ordered by (owner, expert, token) and stand ordered by (expert, source, token) where they arrive.
/// Ranks hold consecutive runs of tokens: that is the experts' order, (expert, token), the same for any number of
/// ranks.
class ExpertTraffic {
 public:
  /// Tells all ranks how many rows come to their experts. rows_per_expert: this rank's, by place in map.by_owner().
  /// Collective: P x (experts of a rank) counts travel.
  ExpertTraffic(const comm::Communicator& communicator, const ExpertMap& map,
                const std::vector<Index>& rows_per_expert);

  /// The exchange that brings rows to the experts, and the one that brings results back.
  [[nodiscard]] const plan::ExchangeShape& dispatch() const { return dispatch_; }
  [[nodiscard]] const plan::ExchangeShape& combine() const { return combine_; }
  /// Rows of each of this rank's experts, over all sources.
  [[nodiscard]] const std::vector<Index>& rows_per_local_expert() const { return rows_per_local_expert_; }

 private:
  plan::ExchangeShape dispatch_;
  plan::ExchangeShape combine_;
  std::vector<Index> rows_per_local_expert_;
};

}  // namespace conclave::model
