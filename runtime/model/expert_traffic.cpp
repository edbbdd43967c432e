// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/expert_traffic.hpp"

#include "runtime/core/scratch.hpp"

#include <numeric>

namespace conclave::model {
namespace {

Index experts_of(const ExpertWaves& waves, RankId rank) { return waves.experts_of(rank, waves.size() - 1).end; }

}  // namespace

// arriving[source * mine + i] = rows that `source` has for this rank's i-th expert. They travel by host, then by
// expert: all waves at once.
void ExpertTraffic::exchange_counts(const comm::Communicator& communicator, const ExpertWaves& waves,
                                    std::span<const Index> rows_per_expert, std::span<Index> arriving) {
  Scratch scratch;
  const std::span<Index> num_experts = scratch.values<Index>(waves.num_ranks());
  const std::span<Index> next = scratch.values<Index>(waves.num_ranks());  // where a rank's counts go on
  Index total = 0;
  for (RankId rank; rank < RankId{waves.num_ranks()}; ++rank) {
    const auto r = static_cast<std::size_t>(rank.value());
    next[r] = total;
    num_experts[r] = experts_of(waves, rank);
    total += num_experts[r];
  }
  const std::span<Index> sent = scratch.values<Index>(total);
  auto count = rows_per_expert.begin();
  for (Index wave = 0; wave < waves.size(); ++wave) {
    for (RankId rank; rank < RankId{waves.num_ranks()}; ++rank) {
      const Index here = waves.experts_of(rank, wave).size();
      Index& to = next[static_cast<std::size_t>(rank.value())];
      std::copy_n(count, here, sent.begin() + to);
      count += here;
      to += here;
    }
  }
  sent_.assign_by_peer(num_experts);
  received_.assign_by_peer(scratch.values<Index>(waves.num_ranks(), experts_of(waves, communicator.rank())));
  counts_.assign(sent_, received_);
  communicator.all_to_all(sent, counts_, arriving);
}

void ExpertTraffic::update(const comm::Communicator& communicator, const ExpertWaves& waves,
                           std::span<const Index> rows_per_expert) {
  const RankId self = communicator.rank();
  const Index mine = experts_of(waves, self);
  Scratch scratch;
  const std::span<Index> arriving = scratch.values<Index>(waves.num_ranks() * mine);
  exchange_counts(communicator, waves, rows_per_expert, arriving);
  rows_per_local_expert_.assign(static_cast<std::size_t>(mine), 0);
  for (std::size_t i = 0; i < arriving.size(); ++i) {
    rows_per_local_expert_[i % rows_per_local_expert_.size()] += arriving[i];
  }
  waves_.resize(static_cast<std::size_t>(waves.size()));
  const std::span<Index> sent = scratch.values<Index>(waves.num_ranks());  // rows for each rank
  auto next = rows_per_expert.begin();
  Index row = 0;
  for (Index wave = 0; wave < waves.size(); ++wave) {
    const Range experts = waves.experts_of(self, wave);
    const std::span<Index> received =
        scratch.values<Index>(waves.num_ranks() * experts.size());  // [source * experts + i]
    for (RankId rank; rank < RankId{waves.num_ranks()}; ++rank) {
      const auto last = next + waves.experts_of(rank, wave).size();
      sent[static_cast<std::size_t>(rank.value())] = std::accumulate(next, last, Index{0});
      next = last;
      std::copy_n(arriving.begin() + rank.value() * mine + experts.begin, experts.size(),
                  received.begin() + rank.value() * experts.size());
    }
    sent_.assign_by_peer(sent);
    received_.assign_by_segment(received, waves.num_ranks());
    Wave& planned = waves_[static_cast<std::size_t>(wave)];
    planned.dispatch.assign(sent_, received_);
    planned.combine.assign_inverse(planned.dispatch);
    planned.rows = {row, row + planned.dispatch.total_sent()};
    row = planned.rows.end;
  }
}

}  // namespace conclave::model
