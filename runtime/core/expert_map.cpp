// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/expert_map.hpp"

#include "runtime/core/error.hpp"

#include <algorithm>
#include <iterator>

namespace conclave {

namespace {

std::vector<std::vector<RankId>> one_host_each(const std::vector<RankId>& owners) {
  std::vector<std::vector<RankId>> hosts;
  hosts.reserve(owners.size());
  for (const RankId owner : owners) hosts.push_back({owner});
  return hosts;
}

}  // namespace

ExpertMap::ExpertMap(std::vector<std::vector<RankId>> hosts, std::size_t num_ranks)
    : hosts_(std::move(hosts)), experts_(num_ranks) {
  for (ExpertId e; e < ExpertId{num_experts()}; ++e) {
    const std::vector<RankId>& ranks = this->hosts(e);
    invariant(!ranks.empty(), "expert {} has no host", e.value());
    for (std::size_t h = 0; h < ranks.size(); ++h) {
      const Index rank = ranks[h].value();
      invariant(0 <= rank && rank < this->num_ranks(), "expert {} is placed on rank {} of {}", e.value(), rank,
                num_ranks);
      invariant(h == 0 || ranks[h - 1] < ranks[h], "expert {} is placed on rank {} after rank {}", e.value(), rank,
                h == 0 ? 0 : ranks[h - 1].value());
      experts_[static_cast<std::size_t>(rank)].push_back(e);
    }
    if (ranks.size() > 1) replicated_.push_back(e);
  }
  for (RankId rank; rank < RankId{this->num_ranks()}; ++rank) {
    const std::vector<ExpertId> owned = owned_by(rank);
    by_owner_.insert(by_owner_.end(), owned.begin(), owned.end());
  }
}

ExpertMap::ExpertMap(std::vector<RankId> owners, Index num_ranks)
    : ExpertMap(one_host_each(owners), static_cast<std::size_t>(num_ranks)) {}

ExpertMap ExpertMap::with_replicas(std::vector<std::vector<RankId>> hosts, Index num_ranks) {
  return {std::move(hosts), static_cast<std::size_t>(num_ranks)};
}

std::vector<HostedExpert> ExpertMap::hosted_by(RankId rank) const {
  std::vector<HostedExpert> hosted;
  for (const ExpertId e : experts_of(rank)) {
    hosted.push_back({e, std::ranges::find(hosts(e), rank) - hosts(e).begin(), std::ssize(hosts(e))});
  }
  return hosted;
}

std::vector<ExpertId> ExpertMap::owned_by(RankId rank) const {
  std::vector<ExpertId> owned;
  std::ranges::copy_if(experts_of(rank), std::back_inserter(owned), [&](ExpertId e) { return owner(e) == rank; });
  return owned;
}

ExpertMap ExpertMap::contiguous(Index num_experts, Index num_ranks) {
  std::vector<RankId> owners(static_cast<std::size_t>(num_experts));
  for (Index r = 0; r < num_ranks; ++r) {
    const Range share = even_share(num_experts, num_ranks, r);
    for (Index e = share.begin; e < share.end; ++e) owners[static_cast<std::size_t>(e)] = RankId{r};
  }
  return {std::move(owners), num_ranks};
}

}  // namespace conclave
