// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/host_shares.hpp"

#include "runtime/core/scratch.hpp"

namespace conclave::model {

HostShares::HostShares(const ExpertMap& map, Index block_rows)
    : map_(map), block_rows_(block_rows), rows_(static_cast<std::size_t>(map.num_experts())) {}

void HostShares::update(const comm::Communicator& communicator, std::span<const Index> claims) {
  invariant(claims.size() == rows_.size(), "claims on {} experts of {}", claims.size(), rows_.size());
  for (std::size_t e = 0; e < rows_.size(); ++e) rows_[e] = {.own = claims[e]};
  const std::vector<ExpertId>& replicated = map_.replicated();
  if (replicated.empty()) return;
  Scratch scratch;
  const std::span<Index> mine = scratch.values<Index>(std::ssize(replicated));
  const std::span<Index> of_ranks = scratch.values<Index>(std::ssize(replicated) * communicator.size());
  for (std::size_t i = 0; i < mine.size(); ++i) mine[i] = of(replicated[i]).own;
  communicator.gather_all<Index>(mine, of_ranks);
  for (std::size_t at = 0; at < of_ranks.size(); ++at) {
    Rows& rows = rows_[static_cast<std::size_t>(replicated[at % mine.size()].value())];
    const RankId rank{static_cast<Index>(at / mine.size())};
    if (rank < communicator.rank()) rows.before += of_ranks[at];
    rows.all += of_ranks[at];
  }
}

Range HostShares::rows_for(ExpertId expert, Index host) const {
  const Rows& rows = of(expert);
  const Index num_hosts = std::ssize(map_.hosts(expert));
  if (num_hosts == 1) return {0, rows.own};
  const experts::RowCut cut(rows.all, block_rows_);
  const Range of_host = cut.rows_of(cut.segments_of_host(host, num_hosts));
  const Range here = intersection(of_host, {rows.before, rows.before + rows.own});
  if (here.empty()) return {};
  return {here.begin - rows.before, here.end - rows.before};
}

}  // namespace conclave::model
