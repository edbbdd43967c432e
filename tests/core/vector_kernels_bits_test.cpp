// SPDX-License-Identifier: BSD-3-Clause
// The bits of a result depend on the values alone: not on an element's place, on alignment or on what stands around.
#include "runtime/core/vector_kernels.hpp"

#include "runtime/core/random.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <limits>
#include <vector>

namespace conclave {
namespace {

constexpr Index max_length = 70;
constexpr Index max_offset = 40;
constexpr Index num_values = max_length + max_offset;

template <class T>
bool same_bits(T a, T b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

template <class T>
std::vector<T> random_values(Index salt, Index count = num_values) {
  const Random random(salt, RandomStream::initial);
  std::vector<T> values;
  for (Index i = 0; i < count; ++i) values.push_back(static_cast<T>(2.0 * random.normal(i, 0)));
  return values;
}

// A kernel that works element by element on up to three inputs; `out` holds what was there before.
template <class T>
struct Elementwise {
  const char* name;
  std::function<void(std::span<const T> a, std::span<const T> b, std::span<const T> c, std::span<T> out)> run;
};

template <class T>
std::vector<Elementwise<T>> elementwise_kernels() {
  using In = std::span<const T>;
  using Out = std::span<T>;
  return {
      {"axpy", [](In a, In, In, Out out) { axpy<T>(T(0.3), a, out); }},
      {"scaled_copy", [](In a, In, In, Out out) { scaled_copy<T>(T(0.3), a, out); }},
      {"product", [](In a, In b, In, Out out) { product<T>(a, b, out); }},
      {"sigmoid", [](In a, In, In, Out out) { sigmoid<T>(a, out); }},
      {"exp_shifted", [](In, In, In, Out out) { exp_shifted<T>(T(0.7), out); }},
      {"add_bias", [](In a, In, In, Out out) { add_bias<T>(a, as_matrix(out, 1, static_cast<Index>(out.size()))); }},
      {"add_column_sums",
       [](In a, In, In, Out out) { add_column_sums<T>(as_matrix(a, 1, static_cast<Index>(a.size())), out); }},
  };
}

template <class T>
class VectorKernelBits : public testing::Test {};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(VectorKernelBits, Types);

TYPED_TEST(VectorKernelBits, AnElementDoesNotDependOnItsPlace) {
  using T = TypeParam;
  const auto a = random_values<T>(1);
  const auto b = random_values<T>(2);
  const auto c = random_values<T>(3);
  const auto start = random_values<T>(4);
  const auto part = [](const std::vector<T>& v, Index offset, Index length) {
    return std::span<const T>(v).subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(length));
  };
  for (const auto& kernel : elementwise_kernels<T>()) {
    std::vector<T> alone = start;  // each element in an array of its own
    for (Index i = 0; i < num_values; ++i) {
      kernel.run(part(a, i, 1), part(b, i, 1), part(c, i, 1),
                 std::span<T>(alone).subspan(static_cast<std::size_t>(i), 1));
    }
    ASSERT_NE(alone, start) << kernel.name << " does nothing";
    for (Index offset = 0; offset <= max_offset; ++offset) {
      for (Index length = 1; length <= max_length; ++length) {
        std::vector<T> out = start;
        kernel.run(part(a, offset, length), part(b, offset, length), part(c, offset, length),
                   std::span<T>(out).subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(length)));
        for (Index i = 0; i < num_values; ++i) {
          const bool inside = offset <= i && i < offset + length;
          const auto place = static_cast<std::size_t>(i);
          ASSERT_TRUE(same_bits(out[place], inside ? alone[place] : start[place]))
              << kernel.name << ": element " << i << " of [" << offset << ", " << offset + length << ")";
        }
      }
    }
  }
}

TYPED_TEST(VectorKernelBits, InputAndOutputMayBeTheSameMemory) {
  using T = TypeParam;
  for (const Index count : {1, 16, 45}) {
    const auto a = random_values<T>(5, count);
    const auto b = random_values<T>(6, count);
    const auto dy = random_values<T>(7, count);
    const auto expect = [&](const char* name, auto apart, auto in_place, const std::vector<T>& shared) {
      std::vector<T> separate(a.size());
      apart(std::span<T>(separate));
      std::vector<T> both = shared;
      in_place(std::span<T>(both));
      EXPECT_EQ(separate, both) << name;
    };
    using Out = std::span<T>;
    expect(
        "sigmoid", [&](Out y) { sigmoid<T>(a, y); }, [](Out y) { sigmoid<T>(y, y); }, a);
    expect(
        "softmax_rows",
        [&](Out y) { softmax_rows<T>(as_matrix(std::span<const T>(a), 1, count), as_matrix(y, 1, count)); },
        [&](Out y) { softmax_rows<T>(as_matrix(y, 1, count), as_matrix(y, 1, count)); }, a);
  }
}

TYPED_TEST(VectorKernelBits, SumsDoNotDependOnAlignment) {
  using T = TypeParam;
  for (Index length = 0; length <= 300; length += length < 80 ? 1 : 37) {
    const auto x = random_values<T>(8, length);
    const auto y = random_values<T>(9, length);
    const T product = dot<T>(x, y);
    const double squares = sum_of_squares<T>(x);
    for (std::size_t offset = 0; offset < 20; ++offset) {
      std::vector<T> moved_x(x.size() + offset, std::numeric_limits<T>::quiet_NaN());
      std::vector<T> moved_y(y.size() + 19 - offset, std::numeric_limits<T>::quiet_NaN());
      std::copy(x.begin(), x.end(), moved_x.begin() + static_cast<Index>(offset));
      std::copy(y.begin(), y.end(), moved_y.begin() + static_cast<Index>(19 - offset));
      const auto there_x = std::span<const T>(moved_x).subspan(offset);
      const auto there_y = std::span<const T>(moved_y).subspan(19 - offset);
      ASSERT_TRUE(same_bits(dot<T>(there_x, there_y), product)) << length << " at " << offset;
      ASSERT_TRUE(same_bits(sum_of_squares<T>(there_x), squares)) << length << " at " << offset;
    }
  }
}

TYPED_TEST(VectorKernelBits, AColumnSumDoesNotDependOnTheOtherColumns) {
  using T = TypeParam;
  constexpr Index rows = 23;
  constexpr Index cols = 300;
  const auto values = random_values<T>(10, rows * cols);
  const ConstMatrixView<T> all = as_matrix(std::span<const T>(values), rows, cols);
  std::vector<T> whole(cols, T(0.1));
  add_column_sums<T>(all, std::span<T>(whole));
  for (const Index begin : {0, 1, 5, 16, 111}) {
    for (const Index count : {1, 3, 16, 64, 65, 128, 129, 189}) {
      std::vector<T> part(static_cast<std::size_t>(count), T(0.1));
      add_column_sums<T>(all.col_block(begin, count), std::span<T>(part));
      for (Index j = 0; j < count; ++j) {
        ASSERT_TRUE(same_bits(part[static_cast<std::size_t>(j)], whole[static_cast<std::size_t>(begin + j)]));
      }
    }
  }
}

TYPED_TEST(VectorKernelBits, ASoftmaxRowDoesNotDependOnItsPlace) {
  using T = TypeParam;
  constexpr Index rows = 6;
  for (Index cols = 1; cols <= 90; ++cols) {
    const auto row = random_values<T>(11, cols);
    const auto cotangent = random_values<T>(12, cols);
    std::vector<T> alone(row.size());
    std::vector<T> log_sum(1);
    softmax_rows<T>(as_matrix(std::span<const T>(row), 1, cols), as_matrix(std::span<T>(alone), 1, cols), log_sum);
    std::vector<T> slope(row.size(), T(0.5));
    softmax_rows_backward<T>(as_matrix(std::span<const T>(alone), 1, cols),
                             as_matrix(std::span<const T>(cotangent), 1, cols),
                             as_matrix(std::span<T>(slope), 1, cols));

    Matrix<T> z(rows, cols + 3);  // an odd stride: every row is aligned in another way
    Matrix<T> dp(rows, cols + 3);
    Matrix<T> dz(rows, cols + 3);
    dz.fill(T(0.5));
    for (Index i = 0; i < rows; ++i) {
      std::copy(row.begin(), row.end(), z.row(i).begin() + 1);
      std::copy(cotangent.begin(), cotangent.end(), dp.row(i).begin() + 1);
    }
    std::vector<T> log_sums(rows);
    const MatrixView<T> p = z.view().col_block(1, cols);
    softmax_rows<T>(p, p, log_sums);
    softmax_rows_backward<T>(p, dp.view().col_block(1, cols), dz.view().col_block(1, cols));
    for (Index i = 0; i < rows; ++i) {
      ASSERT_TRUE(same_bits(log_sums[static_cast<std::size_t>(i)], log_sum[0]));
      for (Index j = 0; j < cols; ++j) {
        ASSERT_TRUE(same_bits(p(i, j), alone[static_cast<std::size_t>(j)])) << i << ", " << j << " of " << cols;
        ASSERT_TRUE(same_bits(dz(i, j + 1), slope[static_cast<std::size_t>(j)])) << i << ", " << j << " of " << cols;
      }
      EXPECT_EQ(dz(i, 0), T(0.5)) << "outside the view";
    }
  }
}

TYPED_TEST(VectorKernelBits, NothingIsAnOrdinaryAmount) {
  using T = TypeParam;
  const std::vector<T> none;
  std::vector<T> out;
  for (const auto& kernel : elementwise_kernels<T>()) {
    EXPECT_NO_THROW(kernel.run(none, none, none, out)) << kernel.name;
  }
  EXPECT_EQ(dot<T>(none, none), T(0));
  EXPECT_EQ(sum_of_squares<T>(none), 0.0);
  for (const auto& [rows, cols] : {std::pair<Index, Index>{0, 0}, {0, 4}, {4, 0}}) {
    Matrix<T> m(rows, cols);
    std::vector<T> log_sums(static_cast<std::size_t>(rows));
    softmax_rows<T>(m, m.view(), log_sums);
    softmax_rows_backward<T>(m, m, m.view());
    std::vector<T> sums(static_cast<std::size_t>(cols), T(2));
    add_column_sums<T>(m, std::span<T>(sums));
    for (const T sum : sums) EXPECT_EQ(sum, T(2));
    for (const T log_sum : log_sums) EXPECT_EQ(log_sum, -std::numeric_limits<T>::infinity());
  }
}

TYPED_TEST(VectorKernelBits, LengthsThatDifferAreADefect) {
  using T = TypeParam;
  const auto three = random_values<T>(13, 3);
  std::vector<T> four(4);
  EXPECT_THROW(product<T>(three, three, four), InvariantError);
  EXPECT_THROW(axpy<T>(T(1), three, four), InvariantError);
  EXPECT_THROW((void)dot<T>(three, four), InvariantError);
  EXPECT_THROW(add_bias<T>(three, as_matrix(std::span<T>(four), 1, 4)), InvariantError);
}

}  // namespace
}  // namespace conclave
