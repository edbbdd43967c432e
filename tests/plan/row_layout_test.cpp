// SPDX-License-Identifier: BSD-3-Clause
#include "comm/plan/row_layout.hpp"

#include "runtime/core/error.hpp"

#include <gtest/gtest.h>

namespace conclave::plan {
namespace {

std::vector<Range> runs_of(const RowLayout& layout, Index peer) {
  const auto runs = layout.runs(RankId{peer});
  return {runs.begin(), runs.end()};
}

TEST(RowLayout, ByPeerIsOneRunAPeer) {
  const RowLayout layout = RowLayout::by_peer(std::vector<Index>{3, 0, 2});
  EXPECT_EQ(layout.num_peers(), 3);
  EXPECT_EQ(layout.num_rows(), 5);
  EXPECT_EQ(layout.rows(RankId{0}), 3);
  EXPECT_EQ(layout.rows(RankId{1}), 0);
  EXPECT_EQ(layout.rows(RankId{2}), 2);
  EXPECT_EQ(runs_of(layout, 0), (std::vector<Range>{{0, 3}}));
  EXPECT_TRUE(runs_of(layout, 1).empty());
  EXPECT_EQ(runs_of(layout, 2), (std::vector<Range>{{3, 5}}));
}

TEST(RowLayout, BySegmentTakesTheSegmentsOfAllPeersInTurn) {
  // segment 0: 2 rows of peer 0, 1 of peer 1; segment 1: none, 3; segment 2: 4, none
  const RowLayout layout = RowLayout::by_segment(std::vector<Index>{2, 0, 4, 1, 3, 0}, 2);
  EXPECT_EQ(layout.num_rows(), 10);
  EXPECT_EQ(layout.rows(RankId{0}), 6);
  EXPECT_EQ(layout.rows(RankId{1}), 4);
  EXPECT_EQ(runs_of(layout, 0), (std::vector<Range>{{0, 2}, {6, 10}}));
  EXPECT_EQ(runs_of(layout, 1), (std::vector<Range>{{2, 6}})) << "runs that follow one another are one";
}

TEST(RowLayout, OnePeersSegmentsAreOneRun) {
  EXPECT_EQ(RowLayout::by_segment(std::vector<Index>{2, 0, 4}, 1), RowLayout::by_peer(std::vector<Index>{6}));
}

TEST(RowLayout, EveryRowBelongsToOnePeer) {
  Index rows_seen = 0;
  for (const Index peers : {1, 2, 5}) {
    for (const Index segments : {0, 1, 3, 8}) {
      std::vector<Index> counts;
      for (Index i = 0; i < peers * segments; ++i) counts.push_back((i * 5 + peers) % 4);
      const RowLayout layout = RowLayout::by_segment(counts, peers);
      std::vector<Index> owners(static_cast<std::size_t>(layout.num_rows()), 0);
      for (Index peer = 0; peer < peers; ++peer) {
        for (const Range& run : runs_of(layout, peer)) {
          EXPECT_GT(run.size(), 0);
          for (Index row = run.begin; row < run.end; ++row) ++owners.at(static_cast<std::size_t>(row));
        }
      }
      EXPECT_EQ(owners, std::vector<Index>(owners.size(), 1));
      rows_seen += layout.num_rows();
    }
  }
  EXPECT_GT(rows_seen, 100);
}

TEST(RowLayout, AnotherOneTakesThePlaceOfTheLast) {
  RowLayout layout = RowLayout::by_segment(std::vector<Index>{2, 0, 4, 1, 3, 0}, 2);
  layout.assign_by_peer(std::vector<Index>{1, 0, 3});
  EXPECT_EQ(layout, RowLayout::by_peer(std::vector<Index>{1, 0, 3}));
  layout.assign_by_segment(std::vector<Index>{1, 2, 3, 4}, 2);
  EXPECT_EQ(layout, RowLayout::by_segment(std::vector<Index>{1, 2, 3, 4}, 2));
  EXPECT_THROW(layout.assign_by_peer(std::vector<Index>{1, -1}), InvariantError);
  layout.assign_by_peer({});
  EXPECT_EQ(layout, RowLayout());
}

TEST(RowLayout, RefusesNegativeCountsAndUnevenSegments) {
  EXPECT_THROW(static_cast<void>(RowLayout::by_peer(std::vector<Index>{1, -1})), InvariantError);
  EXPECT_THROW(static_cast<void>(RowLayout::by_segment(std::vector<Index>{1, 2, 3}, 2)), InvariantError);
  EXPECT_EQ(RowLayout::by_peer({}), RowLayout());
}

TEST(Stretches, AreCutWhereEitherSideIs) {
  const std::vector<Range> from{{10, 14}, {20, 21}, {30, 35}};
  const std::vector<Range> to{{0, 2}, {7, 12}, {3, 6}};
  std::vector<std::vector<Index>> stretches;
  for_each_stretch(from, to, [&](const Stretch& s) { stretches.push_back({s.from, s.to, s.rows}); });
  EXPECT_EQ(stretches, (std::vector<std::vector<Index>>{{10, 0, 2}, {12, 7, 2}, {20, 9, 1}, {30, 10, 2}, {32, 3, 3}}));
  for_each_stretch({}, {}, [&](const Stretch&) { ADD_FAILURE() << "a stretch of nothing"; });
}

}  // namespace
}  // namespace conclave::plan
