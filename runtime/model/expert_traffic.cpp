// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/expert_traffic.hpp"

#include <numeric>

namespace conclave::model {
namespace {

Index experts_of(const ExpertWaves& waves, RankId rank) { return waves.experts_of(rank, waves.size() - 1).end; }

// counts[source * mine + i]: rows that `source` has for this rank's i-th expert.
std::vector<Index> exchange_counts(const comm::Communicator& communicator, const ExpertWaves& waves,
                                   std::span<const Index> rows_per_expert) {
  std::vector<Index> num_experts;        // of each rank
  std::vector<std::vector<Index>> rows;  // for each rank's experts
  for (RankId rank; rank < RankId{waves.num_ranks()}; ++rank) num_experts.push_back(experts_of(waves, rank));
  rows.resize(num_experts.size());
  auto next = rows_per_expert.begin();
  for (Index wave = 0; wave < waves.size(); ++wave) {
    for (RankId rank; rank < RankId{waves.num_ranks()}; ++rank) {
      const auto last = next + waves.experts_of(rank, wave).size();
      std::vector<Index>& of_rank = rows[static_cast<std::size_t>(rank.value())];
      of_rank.insert(of_rank.end(), next, last);
      next = last;
    }
  }
  std::vector<Index> sent;
  for (const std::vector<Index>& of_rank : rows) sent.insert(sent.end(), of_rank.begin(), of_rank.end());
  const std::vector<Index> mine(num_experts.size(), experts_of(waves, communicator.rank()));
  return communicator.all_to_all(sent, plan::ExchangeShape(num_experts, mine));
}

}  // namespace

void ExpertTraffic::update(const comm::Communicator& communicator, const ExpertWaves& waves,
                           std::span<const Index> rows_per_expert) {
  const std::vector<Index> arriving = exchange_counts(communicator, waves, rows_per_expert);
  const RankId self = communicator.rank();
  const Index mine = experts_of(waves, self);
  rows_per_local_expert_.assign(static_cast<std::size_t>(mine), 0);
  for (std::size_t i = 0; i < arriving.size(); ++i) {
    rows_per_local_expert_[i % rows_per_local_expert_.size()] += arriving[i];
  }
  waves_.clear();
  auto next = rows_per_expert.begin();
  Index row = 0;
  for (Index wave = 0; wave < waves.size(); ++wave) {
    std::vector<Index> sent;      // rows for each rank
    std::vector<Index> received;  // [source * experts of the wave + i]
    for (RankId rank; rank < RankId{waves.num_ranks()}; ++rank) {
      const auto last = next + waves.experts_of(rank, wave).size();
      sent.push_back(std::accumulate(next, last, Index{0}));
      next = last;
      const Range experts = waves.experts_of(self, wave);
      const auto of_rank = arriving.begin() + rank.value() * mine;
      received.insert(received.end(), of_rank + experts.begin, of_rank + experts.end);
    }
    const plan::ExchangeShape dispatch(plan::RowLayout::by_peer(sent),
                                       plan::RowLayout::by_segment(received, waves.num_ranks()));
    waves_.push_back({{row, row + dispatch.total_sent()}, dispatch, dispatch.inverse()});
    row += dispatch.total_sent();
  }
}

}  // namespace conclave::model
