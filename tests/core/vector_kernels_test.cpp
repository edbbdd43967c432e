// SPDX-License-Identifier: BSD-3-Clause
// What the kernels compute, against plain loops in float64.
#include "runtime/core/vector_kernels.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/core/arguments.hpp"
#include "tests/support/gradient_check.hpp"

namespace conclave {
namespace {

using test::arguments;
using test::logistic;
using test::random_values;

template <class T>
constexpr double eps = std::numeric_limits<T>::epsilon();

template <class T>
Matrix<T> random_matrix(Index rows, Index cols, Index salt, double scale = 1.0) {
  Matrix<T> m(rows, cols);
  const auto values = random_values<T>(rows * cols, salt, scale);
  std::copy(values.begin(), values.end(), m.data());
  return m;
}

template <class T>
class VectorKernels : public testing::Test {};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(VectorKernels, Types);

TYPED_TEST(VectorKernels, SigmoidAndExponentialFollowTheirFormulas) {
  using T = TypeParam;
  const auto x = arguments<T>();
  ASSERT_GT(x.size(), 1000U);
  std::vector<T> y(x.size());
  const auto expect = [&](const char* name, auto formula) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double right = formula(static_cast<double>(x[i]));
      const double scale = std::max(1.0, std::abs(static_cast<double>(x[i])));
      EXPECT_NEAR(static_cast<double>(y[i]), right, 40.0 * eps<T> * scale) << name << " of " << x[i];
    }
  };
  sigmoid<T>(x, y);
  expect("sigmoid", logistic);
  y = x;
  exp_shifted<T>(T(41), y);
  expect("exp_shifted", [](double v) { return std::exp(v - 41.0); });
}

TYPED_TEST(VectorKernels, SmallExponentialsAndSigmoidsKeepTheirDigits) {
  using T = TypeParam;
  std::vector<T> x;
  for (double v = -80.0; v < 0.0; v += 0.37) x.push_back(static_cast<T>(v));
  std::vector<T> y(x.size());
  sigmoid<T>(x, y);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double right = logistic(static_cast<double>(x[i]));
    EXPECT_NEAR(static_cast<double>(y[i]), right, 8.0 * eps<T> * right) << x[i];
  }
}

TYPED_TEST(VectorKernels, ExtremeArgumentsStayDefined) {
  using T = TypeParam;
  const T large = T(1e30);
  const std::vector<T> x{T(1000), T(-1000), large, -large};
  std::vector<T> y(x.size());
  sigmoid<T>(x, y);
  EXPECT_EQ(y, (std::vector<T>{1, 0, 1, 0}));
}

TYPED_TEST(VectorKernels, AProductIsElementByElementAndInPlaceToo) {
  using T = TypeParam;
  const auto x = random_values<T>(45, 6);
  auto y = random_values<T>(45, 7);
  std::vector<T> z(45);
  product<T>(x, y, z);
  for (std::size_t i = 0; i < z.size(); ++i) EXPECT_EQ(z[i], x[i] * y[i]);
  product<T>(x, y, y);
  EXPECT_EQ(y, z);
}

TYPED_TEST(VectorKernels, SumsAreAccurate) {
  using T = TypeParam;
  for (const Index count : {0, 1, 5, 16, 63, 64, 65, 127, 1000}) {
    const auto x = random_values<T>(count, 4);
    const auto y = random_values<T>(count, 5);
    double product = 0.0;
    double size = 0.0;
    double squares = 0.0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      product += static_cast<double>(x[i]) * static_cast<double>(y[i]);
      size += std::abs(static_cast<double>(x[i]) * static_cast<double>(y[i]));
      squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    }
    EXPECT_NEAR(static_cast<double>(dot<T>(x, y)), product, static_cast<double>(count + 1) * eps<T> * size) << count;
    EXPECT_NEAR(sum_of_squares<T>(x), squares, static_cast<double>(count + 1) * eps<double> * squares) << count;
  }
}

TEST(SumOfSquares, OfFloatsIsTakenInFloat64) {
  const std::vector<float> x(100, 1e30F);  // whose squares are beyond float32
  EXPECT_NEAR(sum_of_squares<float>(x), 1e62, 1e55);
}

TYPED_TEST(VectorKernels, AxpyAndScaledCopy) {
  using T = TypeParam;
  const T alpha = T(-1.7);
  for (const Index count : {0, 1, 15, 16, 17, 100}) {
    const auto x = random_values<T>(count, 6);
    auto y = random_values<T>(count, 7);
    const auto before = y;
    axpy<T>(alpha, x, y);
    std::vector<T> scaled(x.size());
    scaled_copy<T>(alpha, x, scaled);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double term = static_cast<double>(alpha) * static_cast<double>(x[i]);
      EXPECT_NEAR(static_cast<double>(y[i]), static_cast<double>(before[i]) + term,
                  2.0 * eps<T> * (std::abs(term) + std::abs(static_cast<double>(before[i]))));
      EXPECT_EQ(scaled[i], alpha * x[i]);
    }
  }
}

TYPED_TEST(VectorKernels, BiasAndColumnSumsAreAdjoint) {
  using T = TypeParam;
  for (const Index rows : {0, 1, 9}) {
    for (const Index cols : {0, 1, 7, 130, 300}) {
      Matrix<T> storage = random_matrix<T>(rows, cols + 2, 8);
      const Matrix<T> before = storage.copy();
      const auto bias = random_values<T>(cols, 9);
      add_bias<T>(bias, storage.view().col_block(1, cols));
      auto sums = random_values<T>(cols, 10);
      const auto sums_before = sums;
      add_column_sums<T>(before.view().col_block(1, cols), std::span<T>(sums));
      for (Index j = 0; j < cols; ++j) {
        const auto column = static_cast<std::size_t>(j);
        T sum = T(0);
        for (Index i = 0; i < rows; ++i) {
          EXPECT_EQ(storage(i, j + 1), before(i, j + 1) + bias[column]);
          sum += before(i, j + 1);
        }
        EXPECT_EQ(sums[column], sums_before[column] + sum) << "rows are added in order";
      }
      for (Index i = 0; i < rows; ++i) {
        EXPECT_EQ(storage(i, 0), before(i, 0));
        EXPECT_EQ(storage(i, cols + 1), before(i, cols + 1));
      }
    }
  }
}

TYPED_TEST(VectorKernels, SoftmaxIsTheDefinition) {
  using T = TypeParam;
  for (const Index cols : {1, 2, 7, 16, 33, 200}) {
    const Matrix<T> z = random_matrix<T>(5, cols, 11, 4.0);
    Matrix<T> p(5, cols);
    std::vector<T> log_sums(5);
    softmax_rows<T>(z, p, log_sums);
    for (Index i = 0; i < 5; ++i) {
      double sum = 0.0;
      for (const T value : z.row(i)) sum += std::exp(static_cast<double>(value));
      EXPECT_NEAR(static_cast<double>(log_sums[static_cast<std::size_t>(i)]), std::log(sum),
                  20.0 * eps<T> * std::max(1.0, std::abs(std::log(sum))));
      for (Index j = 0; j < cols; ++j) {
        const double right = std::exp(static_cast<double>(z(i, j))) / sum;
        const double tolerance = (30.0 + static_cast<double>(cols)) * eps<T> * right;
        EXPECT_NEAR(static_cast<double>(p(i, j)), right, tolerance);
      }
    }
  }
}

TYPED_TEST(VectorKernels, SoftmaxOfExtremeLogits) {
  using T = TypeParam;
  constexpr T infinity = std::numeric_limits<T>::infinity();
  for (const T value : {T(0), T(-3e4), T(7e4), std::numeric_limits<T>::max(), std::numeric_limits<T>::lowest()}) {
    Matrix<T> one(1, 1);
    one.fill(value);
    Matrix<T> p(1, 1);
    std::vector<T> log_sums(1);
    softmax_rows<T>(one, p, log_sums);
    EXPECT_EQ(p(0, 0), T(1)) << value;
    EXPECT_EQ(log_sums[0], value);
  }
  Matrix<T> z(1, 4);
  z(0, 0) = T(5e4);
  z(0, 1) = T(5e4);
  z(0, 2) = T(-5e4);
  z(0, 3) = -infinity;
  softmax_rows<T>(z, z.view());
  EXPECT_EQ(z(0, 0), T(0.5));
  EXPECT_EQ(z(0, 1), T(0.5));
  EXPECT_EQ(z(0, 2), T(0));
  EXPECT_EQ(z(0, 3), T(0));
}

TYPED_TEST(VectorKernels, SoftmaxBackwardIsTheDefinition) {
  using T = TypeParam;
  for (const Index cols : {1, 6, 16, 37}) {
    Matrix<T> p(4, cols);
    softmax_rows<T>(random_matrix<T>(4, cols, 12), p);
    const Matrix<T> dp = random_matrix<T>(4, cols, 13);
    Matrix<T> dz = random_matrix<T>(4, cols, 14);
    const Matrix<T> before = dz.copy();
    softmax_rows_backward<T>(p, dp, dz);
    for (Index i = 0; i < 4; ++i) {
      double mean = 0.0;
      for (Index l = 0; l < cols; ++l) mean += static_cast<double>(p(i, l)) * static_cast<double>(dp(i, l));
      for (Index j = 0; j < cols; ++j) {
        const double change = static_cast<double>(p(i, j)) * (static_cast<double>(dp(i, j)) - mean);
        EXPECT_NEAR(static_cast<double>(dz(i, j)), static_cast<double>(before(i, j)) + change,
                    (8.0 + static_cast<double>(cols)) * eps<T> * (1.0 + std::abs(static_cast<double>(before(i, j)))));
      }
    }
  }
}

// Central differences of <dy, f(x)> in float64: ties each backward to its forward.
TEST(VectorKernelGradients, SoftmaxAgreesWithDifferences) {
  constexpr Index cols = 21;
  constexpr double h = 1e-6;
  Matrix<double> z = random_matrix<double>(1, cols, 18);
  const Matrix<double> dp = random_matrix<double>(1, cols, 19);
  Matrix<double> p(1, cols);
  softmax_rows<double>(z, p);
  Matrix<double> dz(1, cols);
  softmax_rows_backward<double>(p, dp, dz);
  for (Index j = 0; j < cols; ++j) {
    const double middle = z(0, j);
    z(0, j) = middle + h;
    softmax_rows<double>(z, p);
    const double up = dot<double>(p.flat(), dp.flat());
    z(0, j) = middle - h;
    softmax_rows<double>(z, p);
    const double down = dot<double>(p.flat(), dp.flat());
    z(0, j) = middle;
    EXPECT_NEAR(dz(0, j), (up - down) / (2.0 * h), 1e-8);
  }
}

}  // namespace
}  // namespace conclave
