// SPDX-License-Identifier: BSD-3-Clause
#include "comm/plan/reduce_plan.hpp"

#include "runtime/core/error.hpp"

#include <gtest/gtest.h>

namespace conclave::plan {
namespace {

constexpr Index block = ReducePlan::block_elements;

/// Calls body(plan) for sizes that divide by nothing, that are nothing, and for more ranks than groups or blocks.
template <class Body>
void for_plans(const Body& body) {
  for (const Index elements : {Index{0}, Index{1}, block - 1, block, block + 1, 5 * block, 7 * block + 13}) {
    for (const Index groups : {0, 1, 2, 5, 8, 13}) {
      for (const Index ranks : {1, 2, 3, 4, 7, 16}) body(ReducePlan(elements, groups, ranks));
    }
  }
}

TEST(ReducePlan, SlicesTileTheElementsInWholeBlocks) {
  Index empty_slices = 0;
  for_plans([&](const ReducePlan& plan) {
    Index next = 0;
    for (RankId rank; rank < RankId{plan.num_ranks()}; ++rank) {
      const Range slice = plan.slice_of(rank);
      const Range blocks = plan.blocks_of(rank);
      EXPECT_EQ(slice.begin, next);
      EXPECT_TRUE(slice.end % block == 0 || slice.end == plan.num_elements());
      EXPECT_EQ((slice.size() + block - 1) / block, blocks.size());
      empty_slices += slice.empty() ? 1 : 0;
      next = slice.end;
    }
    EXPECT_EQ(next, plan.num_elements());
  });
  EXPECT_GT(empty_slices, 0);
}

TEST(ReducePlan, PiecesMakeUpTheRanksGroups) {
  for_plans([](const ReducePlan& plan) {
    Index num_pieces = 0;
    for (RankId rank; rank < RankId{plan.num_ranks()}; ++rank) {
      const Range groups = plan.groups_of(rank);
      Index next = groups.begin;
      for (const Range& piece : plan.pieces_of(rank)) {
        EXPECT_EQ(piece.begin, next);
        next = piece.end;
        ++num_pieces;
      }
      EXPECT_EQ(next, groups.end);
    }
    EXPECT_EQ(std::ssize(plan.finish()), std::max(num_pieces - 1, Index{0}));
  });
}

TEST(ReducePlan, WhatOneRankSendsTheOtherReceives) {
  Index rows = 0;
  for_plans([&](const ReducePlan& plan) {
    for (RankId from; from < RankId{plan.num_ranks()}; ++from) {
      const ExchangeShape sent = plan.exchange(from);
      for (RankId to; to < RankId{plan.num_ranks()}; ++to) {
        EXPECT_EQ(sent.rows_to(to), plan.exchange(to).rows_from(from));
        EXPECT_EQ(sent.rows_to(to), std::ssize(plan.pieces_of(from)) * plan.blocks_of(to).size());
        rows += sent.rows_to(to);
      }
    }
  });
  EXPECT_GT(rows, 1000);
}

TEST(ReducePlan, MovesWhatARingMovesWhereRunsAreSubtrees) {
  const ReducePlan plan(8 * block, 16, 4);
  for (RankId rank; rank < RankId{4}; ++rank) {
    const ExchangeShape shape = plan.exchange(rank);
    EXPECT_EQ(shape.total_sent() - shape.rows_to(rank), 8 - 2);
  }
}

TEST(ReducePlan, RefusesNoRanksAndNegativeSizes) {
  EXPECT_THROW(ReducePlan(1, 1, 0), InvariantError);
  EXPECT_THROW(ReducePlan(-1, 1, 1), InvariantError);
  EXPECT_THROW(ReducePlan(1, -1, 1), InvariantError);
  EXPECT_EQ(ReducePlan(1, 2, 3), ReducePlan(1, 2, 3));
  EXPECT_FALSE(ReducePlan(1, 2, 3) == ReducePlan(1, 2, 4));
}

}  // namespace
}  // namespace conclave::plan
