// SPDX-License-Identifier: BSD-3-Clause
// One rank's view of a layer's dispatch: which rows go to and come from each peer, and where they stand at the experts.
#pragma once

#include "comm/mpi/communicator.hpp"
#include "runtime/model/expert_waves.hpp"

namespace conclave::model {

/// Rows are sent wave by wave, ordered by (host, expert, token), and stand ordered by (expert, source, token) where
/// they arrive. Ranks hold consecutive runs of tokens: that is the experts' order, (expert, token), the same for any
/// number of ranks. Of an expert with several hosts each gets a run of these rows (host_shares.hpp).
class ExpertTraffic {
 public:
  /// Tells all ranks how many rows come to the experts they host. rows_per_expert: this rank's, by place in
  /// waves.order().
  /// Collective: P x (experts of a rank) counts travel, those of all waves at once.
  void update(const comm::Communicator& communicator, const ExpertWaves& waves, std::span<const Index> rows_per_expert);

  [[nodiscard]] Index num_waves() const { return std::ssize(waves_); }
  /// The exchange that brings a wave's rows to the experts, and the one that brings results back.
  [[nodiscard]] const plan::ExchangeShape& dispatch(Index wave) const { return at(wave).dispatch; }
  [[nodiscard]] const plan::ExchangeShape& combine(Index wave) const { return at(wave).combine; }
  /// The rows that a wave sends, among those of all waves.
  [[nodiscard]] Range rows_sent(Index wave) const { return at(wave).rows; }
  /// Rows that come here for each of this rank's experts, over all sources.
  [[nodiscard]] const std::vector<Index>& rows_per_local_expert() const { return rows_per_local_expert_; }

 private:
  struct Wave {
    Range rows;
    plan::ExchangeShape dispatch;
    plan::ExchangeShape combine;
  };
  [[nodiscard]] const Wave& at(Index wave) const { return waves_[static_cast<std::size_t>(wave)]; }

  void exchange_counts(const comm::Communicator& communicator, const ExpertWaves& waves,
                       std::span<const Index> rows_per_expert, std::span<Index> arriving);

  plan::ExchangeShape counts_;  // what exchange_counts() sends
  plan::RowLayout sent_;        // of the wave that is being laid out
  plan::RowLayout received_;
  std::vector<Wave> waves_;
  std::vector<Index> rows_per_local_expert_;
};

}  // namespace conclave::model
