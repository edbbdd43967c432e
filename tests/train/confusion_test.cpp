// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/confusion.hpp"

#include <gtest/gtest.h>

namespace conclave::train {
namespace {

// Rows: 0: 3 right, 1 taken for 1; 1: 2 right; 2: 1 taken for 0; 3: nothing at all.
Confusion example() {
  Confusion c(4);
  for (int i = 0; i < 3; ++i) c.add(0, 0);
  c.add(0, 1);
  for (int i = 0; i < 2; ++i) c.add(1, 1);
  c.add(2, 0);
  return c;
}

TEST(Confusion, CountsRowsOfTrueAndColumnsOfPredictedClasses) {
  const Confusion c = example();
  EXPECT_EQ(c.samples(), 7);
  EXPECT_EQ(c.count(0, 1), 1);
  EXPECT_EQ(c.count(1, 0), 0);
  EXPECT_EQ(c.counts()[2 * 4 + 0], 1);
  EXPECT_EQ(c.samples_of(0), 4);
  EXPECT_EQ(c.predictions_of(0), 4);
  EXPECT_EQ(c.predictions_of(1), 3);
}

TEST(Confusion, MeasuresEachClass) {
  const Confusion c = example();
  EXPECT_DOUBLE_EQ(c.precision(0), 3.0 / 4.0);
  EXPECT_DOUBLE_EQ(c.recall(0), 3.0 / 4.0);
  EXPECT_DOUBLE_EQ(c.precision(1), 2.0 / 3.0);
  EXPECT_DOUBLE_EQ(c.recall(1), 1.0);
  EXPECT_DOUBLE_EQ(c.f1(1), 2.0 * (2.0 / 3.0) / (2.0 / 3.0 + 1.0));
  EXPECT_EQ(c.precision(2), 0.0) << "never predicted";
  EXPECT_EQ(c.f1(2), 0.0);
}

TEST(Confusion, LeavesClassesOutOfTheMacroF1ThatNobodyHasOrNames) {
  const Confusion c = example();
  EXPECT_TRUE(c.is_seen(2));
  EXPECT_FALSE(c.is_seen(3));
  EXPECT_EQ(c.num_seen(), 3);
  EXPECT_DOUBLE_EQ(c.macro_f1(), (c.f1(0) + c.f1(1) + 0.0) / 3.0);
  EXPECT_EQ(Confusion(3).macro_f1(), 0.0);
  EXPECT_EQ(Confusion().macro_f1(), 0.0);
}

TEST(Confusion, WeighsTheF1OfAClassByItsSamples) {
  const Confusion c = example();
  EXPECT_DOUBLE_EQ(c.weighted_f1(), (4.0 * c.f1(0) + 2.0 * c.f1(1)) / 7.0);
  EXPECT_NE(c.weighted_f1(), c.macro_f1());
  EXPECT_EQ(Confusion(3).weighted_f1(), 0.0);
}

}  // namespace
}  // namespace conclave::train
