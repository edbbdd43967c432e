// SPDX-License-Identifier: BSD-3-Clause
#include "experts/row_cut.hpp"

#include "runtime/core/error.hpp"

#include <gtest/gtest.h>

#include <bit>

namespace conclave::experts {
namespace {

TEST(RowCut, BlocksAndSegmentsTileTheRows) {
  for (const Index rows : {0, 1, 7, 8, 9, 16, 17, 40, 100, 1000}) {
    SCOPED_TRACE(rows);
    const RowCut cut(rows, 8);
    Index row = 0;
    for (Index b = 0; b < cut.num_blocks(); ++b) {
      EXPECT_EQ(cut.block(b).begin, row);
      EXPECT_GT(cut.block(b).size(), 0);
      EXPECT_LE(cut.block(b).size(), 8);
      row = cut.block(b).end;
    }
    EXPECT_EQ(row, rows);
    ASSERT_TRUE(std::has_single_bit(static_cast<std::uint64_t>(cut.num_segments())));
    Index block = 0;
    row = 0;
    for (Index s = 0; s < cut.num_segments(); ++s) {
      const Range blocks = cut.blocks_of({s, s + 1});
      if (rows > 0) {
        EXPECT_EQ(blocks.begin, block);
        EXPECT_GT(blocks.size(), 0);
        EXPECT_EQ(cut.rows_of({s, s + 1}), (Range{row, cut.block(blocks.end - 1).end}));
        row = cut.rows_of({s, s + 1}).end;
      } else {
        EXPECT_TRUE(cut.rows_of({s, s + 1}).empty());
      }
      block = blocks.end;
    }
    EXPECT_EQ(block, cut.num_blocks());
    EXPECT_EQ(row, rows);
    EXPECT_TRUE(cut.rows_of({1, 1}).empty());
  }
}

// What the sums' order, and with it every bit of a run, depends on.
TEST(RowCut, SegmentsByBlocks) {
  const auto segments = [](Index blocks) { return RowCut(8 * blocks, 8).num_segments(); };
  EXPECT_EQ(segments(0), 1);
  EXPECT_EQ(segments(1), 1);
  EXPECT_EQ(segments(2), 2);
  EXPECT_EQ(segments(3), 2);
  EXPECT_EQ(segments(4), 4);
  EXPECT_EQ(segments(15), 4);
  EXPECT_EQ(segments(16), 8);
  EXPECT_EQ(segments(32), 16);
  EXPECT_EQ(segments(1000), 16);
  EXPECT_EQ(RowCut(768).num_segments(), 1);
  EXPECT_EQ(RowCut(769).num_segments(), 2);
}

TEST(RowCut, HostsShareTheSegmentsOut) {
  const RowCut cut(8 * 5, 8);  // four segments, the first of two blocks
  ASSERT_EQ(cut.num_segments(), 4);
  for (const Index hosts : {1, 2, 3, 4, 6}) {
    Index row = 0;
    for (Index host = 0; host < hosts; ++host) {
      const Range rows = cut.rows_of(cut.segments_of_host(host, hosts));
      if (host < 4) {
        EXPECT_EQ(rows.begin, row);
      } else {
        EXPECT_TRUE(rows.empty());
      }
      row += rows.size();
    }
    EXPECT_EQ(row, cut.rows());
  }
}

TEST(RowCut, RefusesNegativeRowsAndEmptyBlocks) {
  EXPECT_THROW(RowCut(-1), InvariantError);
  EXPECT_THROW(RowCut(5, 0), InvariantError);
}

}  // namespace
}  // namespace conclave::experts
