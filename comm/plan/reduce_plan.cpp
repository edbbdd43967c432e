// SPDX-License-Identifier: BSD-3-Clause
#include "comm/plan/reduce_plan.hpp"

#include "runtime/core/error.hpp"

#include <algorithm>
#include <iterator>

namespace conclave::plan {

ReducePlan::ReducePlan(Index num_elements, Index num_groups, Index num_ranks)
    : num_elements_(num_elements), num_groups_(num_groups) {
  invariant(num_elements >= 0 && num_groups >= 0 && num_ranks > 0,
            "a reduction of {} elements over {} groups on {} ranks", num_elements, num_groups, num_ranks);
  first_piece_.reserve(static_cast<std::size_t>(num_ranks + 1));
  first_piece_.push_back(0);
  for (Index rank = 0; rank < num_ranks; ++rank) {
    std::ranges::copy(complete_subtrees(num_groups, even_share(num_groups, num_ranks, rank)),
                      std::back_inserter(pieces_));
    first_piece_.push_back(std::ssize(pieces_));
  }
  finish_ = finishing_merges(num_groups, pieces_);
}

Range ReducePlan::slice_of(RankId rank) const {
  const Range blocks = blocks_of(rank);
  return {std::min(blocks.begin * block_elements, num_elements_), std::min(blocks.end * block_elements, num_elements_)};
}

ExchangeShape ReducePlan::exchange(RankId rank) const {
  std::vector<Index> rows_to;
  std::vector<Index> rows_from;
  for (RankId peer; peer < RankId{num_ranks()}; ++peer) {
    rows_to.push_back(std::ssize(pieces_of(rank)) * blocks_of(peer).size());
    rows_from.push_back(std::ssize(pieces_of(peer)) * blocks_of(rank).size());
  }
  return {rows_to, rows_from};
}

}  // namespace conclave::plan
