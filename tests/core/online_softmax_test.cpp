// SPDX-License-Identifier: BSD-3-Clause
// Softmax by blocks of columns, against whole rows in float64.
#include "runtime/core/online_softmax.hpp"

#include "runtime/core/random.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace conclave {
namespace {

template <class T>
class OnlineSoftmax : public testing::Test {};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(OnlineSoftmax, Types);

constexpr Index rows = 9;
constexpr Index width = 5;  // of what is summed
constexpr Index spacing = 64;

// How a row's columns come: blocks of these sizes; in the last one row i sees i + 1 columns.
const std::vector<std::vector<Index>> cuts{{9}, {1, 9}, {37, 9}, {16, 33, 9}, {48, 3}};

double value(Index salt, Index i, Index j) { return Random(salt, RandomStream::initial).normal(i, j); }

// The logits rise towards the end, so that maxima are found in every block; some rows have theirs early.
double logit(Index i, Index j) { return 3.0 * value(1, i, j) + (i % 3 == 0 ? -0.1 : 0.1) * static_cast<double>(j); }

struct Rows {
  std::vector<std::vector<double>> p;  // [rows][columns seen]
  std::vector<double> log_sums;
};

Index columns_of(const std::vector<Index>& cut) {
  Index columns = 0;
  for (const Index size : cut) columns += size;
  return columns;
}
Index seen_of(const std::vector<Index>& cut, Index row) {
  return columns_of(cut) - cut.back() + std::min(cut.back(), row + 1);
}

Rows whole(const std::vector<Index>& cut) {
  Rows result;
  for (Index i = 0; i < rows; ++i) {
    double sum = 0.0;
    for (Index j = 0; j < seen_of(cut, i); ++j) sum += std::exp(logit(i, j));
    std::vector<double> p;
    for (Index j = 0; j < seen_of(cut, i); ++j) p.push_back(std::exp(logit(i, j)) / sum);
    result.p.push_back(std::move(p));
    result.log_sums.push_back(std::log(sum));
  }
  return result;
}

// The block's logits; between a row's end and the next row stands what must never be looked at.
template <class T>
SoftmaxBlock<T> block_of(const std::vector<Index>& cut, std::size_t b, Matrix<T>& memory) {
  Index first = 0;
  for (std::size_t earlier = 0; earlier < b; ++earlier) first += cut[earlier];
  memory.resize(rows, spacing);
  memory.fill(std::numeric_limits<T>::quiet_NaN());
  for (Index i = 0; i < rows; ++i) {
    for (Index j = 0; j < cut[b]; ++j) memory(i, j) = static_cast<T>(logit(i, first + j));
  }
  return {memory.view().col_block(0, cut[b]), b + 1 == cut.size() ? 1 : cut[b]};
}

TYPED_TEST(OnlineSoftmax, SumsAsWholeRowsDo) {
  using T = TypeParam;
  for (const std::vector<Index>& cut : cuts) {
    const Rows expected = whole(cut);
    std::vector<T> maxima(rows);
    std::vector<T> sums(rows);
    std::vector<T> log_sums(rows);
    const OnlineRows<T> online{maxima, sums};
    Matrix<T> memory;
    Matrix<T> summed(rows, width);
    Index first = 0;
    for (std::size_t b = 0; b < cut.size(); ++b) {
      const SoftmaxBlock<T> block = block_of<T>(cut, b, memory);
      if (b == 0) {
        softmax_first_block<T>(block, online);
      } else {
        softmax_next_block<T>(block, online, summed.view());
      }
      for (Index i = 0; i < rows; ++i) {
        for (Index j = 0; j < cut[b]; ++j) {
          for (Index w = 0; w < width; ++w) {
            summed(i, w) += block.values(i, j) * static_cast<T>(value(2, first + j, w));
          }
          if (j >= block.seen_by(i)) {
            EXPECT_EQ(block.values(i, j), T(0));
          }
        }
      }
      first += cut[b];
    }
    softmax_finish<T>(online, summed.view(), std::span(log_sums));
    const double tolerance = 100.0 * std::numeric_limits<T>::epsilon();
    for (Index i = 0; i < rows; ++i) {
      const auto at = static_cast<std::size_t>(i);
      EXPECT_NEAR(static_cast<double>(log_sums[at]), expected.log_sums[at], 10.0 * tolerance) << i;
      for (Index w = 0; w < width; ++w) {
        double sum = 0.0;
        for (Index j = 0; j < seen_of(cut, i); ++j) sum += expected.p[at][static_cast<std::size_t>(j)] * value(2, j, w);
        EXPECT_NEAR(static_cast<double>(summed(i, w)), sum, tolerance) << i << " " << w << " of " << cut.size();
      }
    }
  }
}

TYPED_TEST(OnlineSoftmax, BackwardIsTheFormula) {
  using T = TypeParam;
  for (const std::vector<Index>& cut : cuts) {
    const Rows expected = whole(cut);
    std::vector<T> log_sums(expected.log_sums.begin(), expected.log_sums.end());
    std::vector<double> mean(rows, 0.0);
    for (Index i = 0; i < rows; ++i) {
      for (Index j = 0; j < seen_of(cut, i); ++j) {
        mean[static_cast<std::size_t>(i)] +=
            expected.p[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)] * value(3, i, j);
      }
    }
    const std::vector<T> means(mean.begin(), mean.end());
    Matrix<T> memory;
    Matrix<T> dp(rows, spacing);
    Index first = 0;
    for (std::size_t b = 0; b < cut.size(); ++b) {
      const SoftmaxBlock<T> block = block_of<T>(cut, b, memory);
      for (Index i = 0; i < rows; ++i) {
        for (Index j = 0; j < cut[b]; ++j) dp(i, j) = static_cast<T>(value(3, i, first + j));
      }
      softmax_block_backward<T>(block, std::span<const T>(log_sums), std::span<const T>(means),
                                dp.view().col_block(0, cut[b]));
      const double tolerance = 100.0 * std::numeric_limits<T>::epsilon();
      for (Index i = 0; i < rows; ++i) {
        for (Index j = 0; j < cut[b]; ++j) {
          const auto at = static_cast<std::size_t>(i);
          const bool seen = j < block.seen_by(i);
          const double p = seen ? expected.p[at][static_cast<std::size_t>(first + j)] : 0.0;
          const double gradient = seen ? p * (value(3, i, first + j) - mean[at]) : 0.0;
          EXPECT_NEAR(static_cast<double>(block.values(i, j)), p, tolerance);
          EXPECT_NEAR(static_cast<double>(dp(i, j)), gradient, tolerance);
        }
      }
      first += cut[b];
    }
  }
}

TYPED_TEST(OnlineSoftmax, LargeValuesStayFinite) {
  using T = TypeParam;
  Matrix<T> memory(2, 16);
  std::vector<T> maxima(2);
  std::vector<T> sums(2);
  Matrix<T> summed(2, 1);
  memory.fill(T(-1e4));
  softmax_first_block<T>({memory.view(), 16}, {maxima, sums});
  summed.fill(T(1));
  memory.fill(T(1e4));
  softmax_next_block<T>({memory.view(), 16}, {maxima, sums}, summed.view());
  EXPECT_EQ(summed(1, 0), T(0));
  EXPECT_EQ(maxima[1], T(1e4));
  EXPECT_EQ(sums[0], T(16));
}

TEST(OnlineSoftmaxBlock, RefusesRowsWithoutPadding) {
  Matrix<float> memory(2, 17);
  std::vector<float> maxima(2);
  std::vector<float> sums(2);
  EXPECT_THROW(softmax_first_block<float>({memory.view(), 17}, {maxima, sums}), InvariantError);
  EXPECT_THROW(softmax_first_block<float>({memory.view().col_block(0, 5), 0}, {maxima, sums}), InvariantError);
}

}  // namespace
}  // namespace conclave
