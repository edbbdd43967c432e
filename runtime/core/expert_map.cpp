// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/expert_map.hpp"

#include "runtime/core/error.hpp"

namespace conclave {

ExpertMap::ExpertMap(std::vector<RankId> owners, Index num_ranks)
    : owners_(std::move(owners)), experts_(static_cast<std::size_t>(num_ranks)) {
  for (Index e = 0; e < num_experts(); ++e) {
    const RankId rank = owner(ExpertId{e});
    invariant(0 <= rank.value() && rank.value() < num_ranks, "expert {} is placed on rank {} of {}", e, rank.value(),
              num_ranks);
    experts_[static_cast<std::size_t>(rank.value())].emplace_back(e);
  }
  for (const auto& of_rank : experts_) by_owner_.insert(by_owner_.end(), of_rank.begin(), of_rank.end());
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
