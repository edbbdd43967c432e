// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/matrix.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <numeric>
#include <vector>

namespace conclave {
namespace {

// Element (i, j) is 100 i + j.
Matrix<double> numbered(Index rows, Index cols) {
  Matrix<double> m(rows, cols);
  for (Index i = 0; i < rows; ++i) {
    for (Index j = 0; j < cols; ++j) m(i, j) = static_cast<double>(100 * i + j);
  }
  return m;
}

TEST(Matrix, BeginsZeroAndAligned) {
  for (const Index rows : {1, 3, 17}) {
    const Matrix<float> m(rows, 5);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(m.data()) % 64, 0U);
    ASSERT_EQ(m.size(), rows * 5);
    for (const float value : m.flat()) EXPECT_EQ(value, 0.0F);
  }
}

TEST(Matrix, ALargeOneStandsOnAHugePageAndIsWhole) {
  const Index rows = 1 << 10;
  Matrix<float> m(rows, 3 * rows);  // 12 MiB
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(m.data()) % (std::uintptr_t{2} << 20), 0U);
  m(rows - 1, 3 * rows - 1) = 1.0F;
  EXPECT_EQ(std::accumulate(m.flat().begin(), m.flat().end(), 0.0F), 1.0F);
}

TEST(Matrix, ResizeKeepsMemoryThatIsLargeEnough) {
  Matrix<double> m(6, 4);
  const double* memory = m.data();
  m.resize(3, 8);
  EXPECT_EQ(m.data(), memory);
  EXPECT_EQ(m.rows(), 3);
  EXPECT_EQ(m.cols(), 8);
  m.resize(0, 7);
  m.resize(4, 6);
  EXPECT_EQ(m.data(), memory);
  m.resize(5, 6);
  m.fill(2.0);
  EXPECT_EQ(m(4, 5), 2.0);
  const volatile Index negative = -1;  // volatile: compilers warn of a size they can see
  EXPECT_THROW(m.resize(negative, 2), InvariantError);
}

TEST(Matrix, MovesAndCopiesByName) {
  Matrix<double> source = numbered(3, 4);
  const double* memory = source.data();
  Matrix<double> moved = std::move(source);
  EXPECT_EQ(moved.data(), memory);
  Matrix<double> copied = moved.copy();
  EXPECT_NE(copied.data(), memory);
  copied(2, 3) = -1.0;
  EXPECT_EQ(moved(2, 3), 203.0);
  moved = std::move(copied);
  EXPECT_EQ(moved(2, 3), -1.0);
  EXPECT_EQ(moved(1, 2), 102.0);
}

TEST(Matrix, WithoutElementsIsOrdinary) {
  for (const auto& [rows, cols] : {std::pair<Index, Index>{0, 0}, {0, 5}, {5, 0}}) {
    Matrix<float> m(rows, cols);
    EXPECT_EQ(m.size(), 0);
    EXPECT_TRUE(m.flat().empty());
    EXPECT_TRUE(m.view().flat().empty());
    EXPECT_EQ(m.copy().rows(), rows);
    EXPECT_EQ(m.view().row_block(rows, 0).rows, 0);
    m.fill(1.0F);
  }
}

TEST(MatrixView, BlocksShareTheElements) {
  Matrix<double> m = numbered(6, 5);
  const MatrixView<double> block = m.view().row_block(2, 3).col_block(1, 2);
  EXPECT_EQ(block.rows, 3);
  EXPECT_EQ(block.cols, 2);
  EXPECT_EQ(block(1, 1), 302.0);
  EXPECT_EQ(block.row(2)[0], 401.0);
  EXPECT_FALSE(block.contiguous());
  EXPECT_THROW((void)block.flat(), InvariantError);
  block(0, 0) = -7.0;
  EXPECT_EQ(m(2, 1), -7.0);
  EXPECT_EQ(m.view().row_block(Range{1, 3})(1, 4), 204.0);

  EXPECT_TRUE(m.view().row_block(2, 3).contiguous());
  EXPECT_EQ(m.view().row_block(2, 3).flat().size(), 15U);
  EXPECT_TRUE(block.row_block(0, 1).contiguous()) << "one row has no gap";
}

TEST(MatrixView, SeesAFlatArrayAndTurnsReadOnly) {
  std::vector<double> values(12);
  std::iota(values.begin(), values.end(), 0.0);
  const MatrixView<double> view = as_matrix(std::span<double>(values), 3, 4);
  EXPECT_EQ(view(2, 1), 9.0);
  const ConstMatrixView<double> read_only = view;
  view(2, 1) = 5.0;
  EXPECT_EQ(read_only(2, 1), 5.0);
  EXPECT_THROW((void)as_matrix(std::span<double>(values), 3, 5), InvariantError);
}

#ifndef NDEBUG
TEST(MatrixView, DebugBuildsCheckIndices) {
  Matrix<double> m(2, 3);
  EXPECT_THROW((void)m(2, 0), InvariantError);
  EXPECT_THROW((void)m(0, 3), InvariantError);
  EXPECT_THROW((void)m.view().row_block(1, 2), InvariantError);
  EXPECT_THROW((void)m.view().col_block(-1, 2), InvariantError);
}
#endif

}  // namespace
}  // namespace conclave
