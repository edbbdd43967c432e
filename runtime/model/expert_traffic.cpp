// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/expert_traffic.hpp"

#include <numeric>

namespace conclave::model {
namespace {

// Rows that this rank has for each peer.
std::vector<Index> rows_per_rank(const ExpertMap& map, const std::vector<Index>& rows_per_expert) {
  std::vector<Index> rows;
  auto next = rows_per_expert.begin();
  for (RankId rank; rank < RankId{map.num_ranks()}; ++rank) {
    const auto last = next + std::ssize(map.experts_of(rank));
    rows.push_back(std::accumulate(next, last, Index{0}));
    next = last;
  }
  return rows;
}

// counts[source * mine + i]: rows that `source` has for this rank's i-th expert.
std::vector<Index> exchange_counts(const comm::Communicator& communicator, const ExpertMap& map,
                                   const std::vector<Index>& rows_per_expert) {
  const Index mine = std::ssize(map.experts_of(communicator.rank()));
  std::vector<Index> to;
  for (RankId rank; rank < RankId{map.num_ranks()}; ++rank) to.push_back(std::ssize(map.experts_of(rank)));
  return communicator.all_to_all(rows_per_expert, plan::ExchangeShape(to, std::vector<Index>(to.size(), mine)));
}

}  // namespace

ExpertTraffic::ExpertTraffic(const comm::Communicator& communicator, const ExpertMap& map,
                             const std::vector<Index>& rows_per_expert) {
  const std::vector<Index> arriving = exchange_counts(communicator, map, rows_per_expert);
  dispatch_ = {plan::RowLayout::by_peer(rows_per_rank(map, rows_per_expert)),
               plan::RowLayout::by_segment(arriving, map.num_ranks())};
  combine_ = dispatch_.inverse();
  const auto mine = map.experts_of(communicator.rank()).size();
  rows_per_local_expert_.assign(mine, 0);
  for (std::size_t i = 0; i < arriving.size(); ++i) rows_per_local_expert_[i % mine] += arriving[i];
}

}  // namespace conclave::model
