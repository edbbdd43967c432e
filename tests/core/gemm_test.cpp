// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/gemm.hpp"

#include "runtime/core/cpu.hpp"
#include "runtime/core/random.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace conclave {
namespace {

struct Case {
  Index rows;   // of the result
  Index cols;   // of the result
  Index inner;  // length of the sums
};

constexpr Case cases[] = {{1, 1, 1}, {5, 7, 3}, {17, 33, 65}, {64, 32, 48}, {129, 19, 31}, {1, 40, 257}, {40, 1, 9},
                          {0, 3, 4}, {3, 0, 4}, {3, 4, 0},    {33, 17, 0},  {0, 0, 0},     {2, 3, 1}};
constexpr Index gap = 3;  // unused columns of a strided view

// A matrix with `gap` more columns than are used, all random.
template <class T>
Matrix<T> random_matrix(Index rows, Index cols, Index salt) {
  Matrix<T> m(rows, cols + gap);
  const Random random(salt, RandomStream::initial);
  for (Index i = 0; i < rows; ++i) {
    for (Index j = 0; j < cols + gap; ++j) m(i, j) = static_cast<T>(random.normal(i, j));
  }
  return m;
}

template <class T>
MatrixView<T> used(Matrix<T>& m) {
  return m.view().col_block(1, m.cols() - gap);
}

enum class Product { nt, nn, tn };

// Checks one product against double loops. Element (i, j) sums left(i, l) right(l, j) over l.
template <class T>
void check(Product product, const Case& c, T beta) {
  SCOPED_TRACE(testing::Message() << "product " << static_cast<int>(product) << " [" << c.rows << "," << c.cols
                                  << "] over " << c.inner << ", beta " << beta);
  const bool left_is_transposed = product == Product::tn;
  const bool right_is_transposed = product == Product::nt;
  Matrix<T> a = random_matrix<T>(left_is_transposed ? c.inner : c.rows, left_is_transposed ? c.rows : c.inner, 1);
  Matrix<T> b = random_matrix<T>(right_is_transposed ? c.cols : c.inner, right_is_transposed ? c.inner : c.cols, 2);
  Matrix<T> y = random_matrix<T>(c.rows, c.cols, 3);
  const Matrix<T> before = y.copy();
  if (product == Product::nt) gemm_nt<T>(used(a), used(b), beta, used(y));
  if (product == Product::nn) gemm_nn<T>(used(a), used(b), beta, used(y));
  if (product == Product::tn) gemm_tn<T>(used(a), used(b), beta, used(y));

  const auto left = used(a);
  const auto right = used(b);
  for (Index i = 0; i < c.rows; ++i) {
    for (Index j = 0; j < c.cols; ++j) {
      double sum = static_cast<double>(beta) * static_cast<double>(before(i, j + 1));
      double size = std::abs(sum);
      for (Index l = 0; l < c.inner; ++l) {
        const double term = static_cast<double>(left_is_transposed ? left(l, i) : left(i, l)) *
                            static_cast<double>(right_is_transposed ? right(j, l) : right(l, j));
        sum += term;
        size += std::abs(term);
      }
      const double eps = std::numeric_limits<T>::epsilon();
      ASSERT_NEAR(static_cast<double>(used(y)(i, j)), sum, static_cast<double>(c.inner + 2) * eps * size)
          << "at " << i << ", " << j;
    }
    EXPECT_EQ(y(i, 0), before(i, 0)) << "the gap before row " << i;
    for (Index j = c.cols + 1; j < c.cols + gap; ++j) EXPECT_EQ(y(i, j), before(i, j)) << "the gap after row " << i;
  }
}

template <class T>
class Gemm : public testing::Test {
 protected:
  static void SetUpTestSuite() { make_blas_single_threaded(); }
};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(Gemm, Types);

// Calls body with each backend that this program was built with.
template <class Body>
void with_each_backend(const Body& body) {
  for (const auto& entry : enum_names(GemmBackend{})) {
    if (!has_gemm_backend(entry.value)) continue;
    SCOPED_TRACE(entry.name);
    use_gemm_backend(entry.value);
    body();
  }
  use_gemm_backend(default_gemm_backend());
}

TYPED_TEST(Gemm, EveryProductIsThatOfPlainLoops) {
  with_each_backend([] {
    for (const Case& c : cases) {
      for (const TypeParam beta : {TypeParam(0), TypeParam(1), TypeParam(-0.5)}) {
        for (const Product product : {Product::nt, Product::nn, Product::tn}) check<TypeParam>(product, c, beta);
      }
    }
  });
}

TYPED_TEST(Gemm, BetaZeroOverwritesWhateverWasThere) {
  with_each_backend([] {
    for (const Index inner : {0, 4}) {
      Matrix<TypeParam> x = random_matrix<TypeParam>(3, inner, 1);
      Matrix<TypeParam> w = random_matrix<TypeParam>(5, inner, 2);
      Matrix<TypeParam> y(3, 5);
      y.fill(std::numeric_limits<TypeParam>::quiet_NaN());
      gemm_nt<TypeParam>(used(x), used(w), TypeParam(0), y);
      for (const TypeParam value : y.flat()) EXPECT_EQ(value != TypeParam(0) && std::isfinite(value), inner > 0);
    }
  });
}

TYPED_TEST(Gemm, ShapesThatDoNotFitAreADefect) {
  Matrix<TypeParam> a(3, 4);
  Matrix<TypeParam> b(5, 4);
  Matrix<TypeParam> y(3, 5);
  EXPECT_NO_THROW(gemm_nt<TypeParam>(a, b, TypeParam(0), y.view()));
  EXPECT_THROW(gemm_nn<TypeParam>(a, b, TypeParam(0), y.view()), InvariantError);
  EXPECT_THROW(gemm_tn<TypeParam>(a, b, TypeParam(0), y.view()), InvariantError);
  EXPECT_THROW(gemm_nt<TypeParam>(b, a, TypeParam(0), y.view()), InvariantError);
}

TEST(Blas, NamesItself) {
  EXPECT_FALSE(blas_kernel().empty());
  EXPECT_FALSE(blas_library().empty());
  with_each_backend([] {
    EXPECT_THAT(gemm_library(), testing::HasSubstr(gemm_backend() == GemmBackend::onednn ? "oneDNN" : blas_kernel()));
  });
}

TEST(Blas, TheDefaultIsAFixedRuleAndABackendThatIsMissingIsRefused) {
  EXPECT_TRUE(has_gemm_backend(GemmBackend::openblas));
  const bool has_onednn = has_gemm_backend(GemmBackend::onednn);
  EXPECT_EQ(default_gemm_backend(), has_onednn && has_avx512() ? GemmBackend::onednn : GemmBackend::openblas);
  if (has_onednn) return;
  EXPECT_THROW(use_gemm_backend(GemmBackend::onednn), InputError);
}

}  // namespace
}  // namespace conclave
