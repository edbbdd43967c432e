// SPDX-License-Identifier: BSD-3-Clause
#include "experts/row_cut.hpp"

#include "runtime/core/error.hpp"

#include <algorithm>
#include <bit>

namespace conclave::experts {
namespace {

// Each segment after the first costs an addition of all weights, which a product of few rows would not hide: segments
// are one block, or little more, only where an expert could not be shared out otherwise.
Index segments_for(Index num_blocks) {
  constexpr Index enough_to_share_out = 4;
  constexpr Index most = 16;
  const auto blocks = std::bit_floor(static_cast<std::uint64_t>(std::max<Index>(num_blocks, 1)));
  const auto full = static_cast<Index>(blocks);
  return std::min({full, std::max(enough_to_share_out, full / 2), most});
}

}  // namespace

RowCut::RowCut(Index rows, Index block_rows) : rows_(rows) {
  invariant(rows >= 0 && block_rows > 0, "{} rows in blocks of {}", rows, block_rows);
  num_blocks_ = (rows + block_rows - 1) / block_rows;
  num_segments_ = segments_for(num_blocks_);
}

Range RowCut::blocks_of(Range segments) const {
  if (segments.empty()) return {};
  return {even_share(num_blocks_, num_segments_, segments.begin).begin,
          even_share(num_blocks_, num_segments_, segments.end - 1).end};
}

Range RowCut::rows_of(Range segments) const {
  const Range blocks = blocks_of(segments);
  if (blocks.empty()) return {};
  return {block(blocks.begin).begin, block(blocks.end - 1).end};
}

}  // namespace conclave::experts
