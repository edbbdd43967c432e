// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/scratch.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <thread>
#include <vector>

namespace conclave {
namespace {

TEST(Scratch, WhatIsTakenIsApartAndAligned) {
  Scratch scratch;
  std::vector<std::span<char>> taken;
  for (Index i = 0; i < 300; ++i) taken.push_back(scratch.values<char>(i * 7, static_cast<char>(i)));
  const MatrixView<double> matrix = scratch.matrix<double>(300, 400, 2.5);  // larger than all of that
  for (std::size_t i = 0; i < taken.size(); ++i) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(taken[i].data()) % 64, 0U);
    EXPECT_EQ(taken[i].size(), i * 7);
    for (const char value : taken[i]) ASSERT_EQ(value, static_cast<char>(i));
  }
  EXPECT_EQ(matrix.rows, 300);
  EXPECT_EQ(matrix.cols, 400);
  for (const double value : matrix.flat()) ASSERT_EQ(value, 2.5);
}

TEST(Scratch, AScopeGivesBackWhatItTookAndNoMore) {
  Scratch outer;
  const std::span<int> kept = outer.values<int>(1000, 7);
  const int* place = nullptr;
  for (int round = 0; round < 3; ++round) {
    Scratch inner;
    const std::span<int> first = inner.values<int>(20, round);
    if (round == 0) place = first.data();
    EXPECT_EQ(first.data(), place) << "the same calls find the same memory";
    const std::span<int> large = inner.values<int>(Index{1} << 18, 9);  // in another block
    EXPECT_EQ(first[19], round);
    EXPECT_EQ(large.back(), 9);
  }
  EXPECT_EQ(outer.values<int>(20).data(), place);
  for (const int value : kept) ASSERT_EQ(value, 7);
}

TEST(Scratch, OnlyTheInnermostScopeGivesMemory) {
  Scratch outer;
  {
    const Scratch inner;
    EXPECT_THROW(static_cast<void>(outer.values<int>(1)), InvariantError);
  }
  EXPECT_EQ(outer.values<int>(1, 5)[0], 5);
  EXPECT_THROW(static_cast<void>(outer.values<int>(-1)), InvariantError);
}

TEST(Scratch, NothingIsTakenForNothing) {
  Scratch scratch;
  EXPECT_TRUE(scratch.values<int>(0).empty());
  EXPECT_EQ(scratch.matrix<float>(0, 5, 1.0F).cols, 5);
  EXPECT_EQ(scratch.matrix<float>(3, 0).rows, 3);
}

TEST(Scratch, EachThreadHasItsOwn) {
  Scratch scratch;
  const std::span<int> mine = scratch.values<int>(100, 1);
  std::thread([] {
    Scratch other;
    EXPECT_EQ(other.values<int>(100, 2)[99], 2);
  }).join();
  for (const int value : mine) ASSERT_EQ(value, 1);
}

}  // namespace
}  // namespace conclave
