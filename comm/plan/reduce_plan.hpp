// SPDX-License-Identifier: BSD-3-Clause
// Who sums what in the reproducible reduce-scatter (and who gathers what after it).
#pragma once

#include "comm/plan/exchange_shape.hpp"
#include "runtime/core/reduction_tree.hpp"

#include <span>
#include <vector>

namespace conclave::plan {

/// The reduce-scatter of a flat array of `num_elements`, one term a group, over all groups. The array is cut into
/// blocks of block_elements (the last may be short); rank r owns an even share of the blocks: its slice. A rank sums
/// the groups of its run up to complete subtrees, sends every peer that peer's slice of each, and finishes the tree for
/// its own slice. Rows of the exchange are blocks, the short last one filled up; a rank's row order is by peer, then by
/// piece, then by block.
class ReducePlan {
 public:
  /// Any number of elements and groups, none included, on at least one rank; InvariantError otherwise.
  ReducePlan(Index num_elements, Index num_groups, Index num_ranks);

  static constexpr Index block_elements = 4096;
  [[nodiscard]] static constexpr Index blocks_of_elements(Index num_elements) {
    return (num_elements + block_elements - 1) / block_elements;
  }
  /// Of so many elements on so many ranks the largest slice, the first rank's, in whole blocks.
  [[nodiscard]] static constexpr Index largest_slice(Index num_elements, Index num_ranks) {
    return even_share(blocks_of_elements(num_elements), num_ranks, 0).size() * block_elements;
  }

  [[nodiscard]] Index num_elements() const { return num_elements_; }
  [[nodiscard]] Index num_blocks() const { return blocks_of_elements(num_elements_); }
  [[nodiscard]] Index num_groups() const { return num_groups_; }
  [[nodiscard]] Index num_ranks() const { return static_cast<Index>(first_piece_.size()) - 1; }
  [[nodiscard]] Range groups_of(RankId rank) const { return even_share(num_groups_, num_ranks(), rank.value()); }
  /// The complete subtrees that a rank sums by itself.
  [[nodiscard]] std::span<const Range> pieces_of(RankId rank) const {
    const auto r = static_cast<std::size_t>(rank.value());
    return std::span(pieces_).subspan(static_cast<std::size_t>(first_piece_[r]),
                                      static_cast<std::size_t>(first_piece_[r + 1] - first_piece_[r]));
  }
  /// The blocks, and the elements, of a rank's slice.
  [[nodiscard]] Range blocks_of(RankId rank) const { return even_share(num_blocks(), num_ranks(), rank.value()); }
  [[nodiscard]] Range slice_of(RankId rank) const;
  /// The exchange of partial sums as `rank` sees it: rows are blocks.
  [[nodiscard]] ExchangeShape exchange(RankId rank) const;
  /// The additions every rank does on its slice, once all pieces are there.
  [[nodiscard]] const std::vector<Merge>& finish() const { return finish_; }
  friend bool operator==(const ReducePlan&, const ReducePlan&) = default;

 private:
  Index num_elements_;
  Index num_groups_;
  std::vector<Range> pieces_;       // of all ranks, ascending
  std::vector<Index> first_piece_;  // [num_ranks + 1] where each rank's begin, and the end
  std::vector<Merge> finish_;
};

}  // namespace conclave::plan
