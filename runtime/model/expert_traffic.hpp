// SPDX-License-Identifier: BSD-3-Clause
// One rank's view of a layer's dispatch: how many rows go to and come from each peer, and how arrived rows are ordered.
#pragma once

#include "comm/mpi/communicator.hpp"
#include "runtime/core/expert_map.hpp"
#include "runtime/core/matrix.hpp"

namespace conclave::model {

/// Rows are sent ordered by (owner, expert, token), so they arrive ordered by (source, expert, token). Ranks hold
/// consecutive runs of tokens: taking each expert's rows source by source gives the experts' order (expert, token), the
/// same for any number of ranks.
class ExpertTraffic {
 public:
  /// Tells all ranks how many rows come to their experts. rows_per_expert: this rank's, by place in map.by_owner().
  /// Collective: P x (experts of a rank) counts travel.
  ExpertTraffic(const comm::Communicator& communicator, const ExpertMap& map,
                const std::vector<Index>& rows_per_expert);

  /// The exchange that brings rows to the experts; its inverse() brings results back.
  [[nodiscard]] const plan::ExchangeShape& dispatch() const { return dispatch_; }
  /// Rows of each of this rank's experts, over all sources.
  [[nodiscard]] const std::vector<Index>& rows_per_local_expert() const { return rows_per_local_expert_; }

  /// [rows, width] as they arrived -> in the experts' order, and back.
  template <class T>
  void to_expert_order(ConstMatrixView<T> arrived, MatrixView<T> ordered) const;
  template <class T>
  void to_arrival_order(ConstMatrixView<T> ordered, MatrixView<T> arrived) const;

 private:
  struct Segment {  // rows of one source for one expert
    Index arrived;  // where they begin as they came
    Index ordered;  // and in the experts' order
    Index rows;
  };
  plan::ExchangeShape dispatch_;
  std::vector<Index> rows_per_local_expert_;
  std::vector<Segment> segments_;
};

}  // namespace conclave::model
