// SPDX-License-Identifier: BSD-3-Clause
// How the rows that an expert gets in a step are cut for products and for sums.
#pragma once

#include "runtime/core/ids.hpp"

namespace conclave::experts {

/// Rows of a block, at most: large, because each call packs the weights anew; small enough that threads have blocks to
/// share out.
inline constexpr Index default_block_rows = 768;

/// The rows of one expert in one step, from all ranks together, in the global order of their tokens. They are cut into
/// the fewest even blocks, which forward and the input's gradient take one by one, and these into segments: the
/// weights' gradient has a product for each, whose sum is taken in the tree of runtime/core/reduction_tree.hpp. All of
/// that depends on the number of rows alone, so bits do not depend on who computes which segments.
class RowCut {
 public:
  RowCut() = default;
  /// InvariantError for fewer than no rows, or blocks of none.
  explicit RowCut(Index rows, Index block_rows = default_block_rows);

  [[nodiscard]] Index rows() const { return rows_; }
  [[nodiscard]] Index num_blocks() const { return num_blocks_; }
  /// A power of two, so that hosts' shares are subtrees wherever that is even enough; one where there are no rows.
  [[nodiscard]] Index num_segments() const { return num_segments_; }

  /// The rows of a block.
  [[nodiscard]] Range block(Index block) const { return even_share(rows_, num_blocks_, block); }
  /// The blocks of consecutive segments, and their rows.
  [[nodiscard]] Range blocks_of(Range segments) const;
  [[nodiscard]] Range rows_of(Range segments) const;
  /// The segments that the host `host` of `num_hosts` computes. With fewer segments than hosts the last have none.
  [[nodiscard]] Range segments_of_host(Index host, Index num_hosts) const {
    return even_share(num_segments_, num_hosts, host);
  }
  friend bool operator==(const RowCut&, const RowCut&) = default;

 private:
  Index rows_ = 0;
  Index num_blocks_ = 0;
  Index num_segments_ = 1;
};

}  // namespace conclave::experts
