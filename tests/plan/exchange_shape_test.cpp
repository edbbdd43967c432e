// SPDX-License-Identifier: BSD-3-Clause
#include "comm/plan/exchange_shape.hpp"

#include "runtime/core/error.hpp"

#include <gtest/gtest.h>

namespace conclave::plan {
namespace {

TEST(ExchangeShape, CountsFollowThePeers) {
  const ExchangeShape shape({3, 0, 2}, {1, 4, 0});
  EXPECT_EQ(shape.num_ranks(), 3);
  EXPECT_EQ(shape.rows_to(RankId{0}), 3);
  EXPECT_EQ(shape.rows_to(RankId{2}), 2);
  EXPECT_EQ(shape.rows_from(RankId{1}), 4);
  EXPECT_EQ(shape.total_sent(), 5);
  EXPECT_EQ(shape.total_received(), 5);
  EXPECT_EQ(shape.received(), RowLayout::by_peer(std::vector<Index>{1, 4, 0}));
}

TEST(ExchangeShape, InverseSwapsTheSides) {
  const ExchangeShape shape({3, 0, 2}, {1, 4, 1});
  const ExchangeShape back = shape.inverse();
  EXPECT_EQ(back, ExchangeShape({1, 4, 1}, {3, 0, 2}));
  EXPECT_NE(back, shape);
  EXPECT_EQ(back.inverse(), shape);
}

TEST(ExchangeShape, WhereRowsStandBelongsToIt) {
  const RowLayout sent = RowLayout::by_peer(std::vector<Index>{2, 1});
  const RowLayout by_segment = RowLayout::by_segment(std::vector<Index>{1, 1, 1, 1}, 2);
  const ExchangeShape dispatch(sent, by_segment);
  EXPECT_EQ(dispatch.rows_from(RankId{1}), 2);
  EXPECT_NE(dispatch, ExchangeShape({2, 1}, {2, 2}));
  EXPECT_EQ(dispatch.inverse(), ExchangeShape(by_segment, sent));
}

TEST(ExchangeShape, AnotherOneTakesThePlaceOfTheLast) {
  const ExchangeShape other({1, 4}, {2, 3});
  ExchangeShape shape({3, 0, 2}, {1, 4, 1});
  shape.assign(other.sent(), other.received());
  EXPECT_EQ(shape, other);
  ExchangeShape back({7}, {8});
  back.assign_inverse(shape);
  EXPECT_EQ(back, other.inverse());
  EXPECT_THROW(shape.assign(other.sent(), RowLayout()), InvariantError);
}

TEST(ExchangeShape, NothingAtAllIsAShape) {
  const ExchangeShape shape({0}, {0});
  EXPECT_EQ(shape.total_sent(), 0);
  EXPECT_EQ(shape.inverse(), shape);
  EXPECT_EQ(ExchangeShape().num_ranks(), 0);
}

TEST(ExchangeShape, RefusesNegativeCountsAndUnequalSides) {
  EXPECT_THROW(ExchangeShape({1, -1}, {0, 0}), InvariantError);
  EXPECT_THROW(ExchangeShape({1, 1}, {0, -2}), InvariantError);
  EXPECT_THROW(ExchangeShape({1, 1}, {0}), InvariantError);
}

}  // namespace
}  // namespace conclave::plan
