// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/expert_waves.hpp"

namespace conclave::model {

ExpertWaves::ExpertWaves(const ExpertMap& map, Index num_waves) {
  for (RankId rank; rank < RankId{map.num_ranks()}; ++rank) {
    experts_per_rank_.push_back(std::ssize(map.experts_of(rank)));
  }
  num_waves_ = count(*std::ranges::max_element(experts_per_rank_), num_waves);
  for (Index wave = 0; wave < num_waves_; ++wave) {
    for (RankId rank; rank < RankId{map.num_ranks()}; ++rank) {
      const std::vector<HostedExpert> all = map.hosted_by(rank);
      const Range mine = experts_of(rank, wave);
      order_.insert(order_.end(), all.begin() + mine.begin, all.begin() + mine.end);
    }
  }
}

}  // namespace conclave::model
