// SPDX-License-Identifier: BSD-3-Clause
// The waves in which experts compute, so that communication hides behind them.
#pragma once

#include "runtime/core/expert_map.hpp"

#include <algorithm>

namespace conclave::model {

/// Each rank's experts cut into waves: while one wave computes, the rows of the next are on their way and the results
/// of the last travel home. An expert's products are the same for any number of waves, and so are all bits. (Tutel and
/// FasterMoE cut the tokens instead, which makes every product smaller and changes sums.)
class ExpertWaves {
 public:
  /// At most `num_waves`, at least one; no more than the fullest rank has experts.
  ExpertWaves(const ExpertMap& map, Index num_waves);

  /// So many where `num_waves` are asked for and the fullest rank has `most_experts`.
  [[nodiscard]] static Index count(Index most_experts, Index num_waves) {
    return std::clamp<Index>(most_experts, 1, std::max<Index>(num_waves, 1));
  }

  [[nodiscard]] Index size() const { return num_waves_; }
  /// A rank's experts of a wave, as its local numbers; may be none.
  [[nodiscard]] Range experts_of(RankId rank, Index wave) const {
    return even_share(experts_per_rank_[static_cast<std::size_t>(rank.value())], num_waves_, wave);
  }
  [[nodiscard]] Index num_ranks() const { return std::ssize(experts_per_rank_); }
  /// All that ranks host, by wave, then by rank, then by expert: the order in which rows are laid out for sending.
  [[nodiscard]] const std::vector<HostedExpert>& order() const { return order_; }

 private:
  std::vector<Index> experts_per_rank_;  // [num_ranks]
  Index num_waves_ = 1;
  std::vector<HostedExpert> order_;
};

}  // namespace conclave::model
