// SPDX-License-Identifier: BSD-3-Clause
#include "gating/sinkhorn.hpp"

#include "gating/selection.hpp"
#include "tests/gating/draws.hpp"
#include "tests/gating/reference_scores.hpp"

#include <gtest/gtest.h>

namespace conclave::gating {
namespace {

using namespace conclave::test;

template <class T = double>
Matrix<T> random_logits(Index number, Index num_tokens, Index num_experts, double deviation) {
  Draws draw(700 + number);
  Matrix<T> z(num_tokens, num_experts);
  for (T& logit : z.flat()) logit = static_cast<T>(deviation * draw.normal());
  return z;
}

template <class T>
Matrix<T> balanced(const Matrix<T>& logits, Index iterations) {
  Matrix<T> q(logits.rows(), logits.cols());
  q.fill(T{99});
  sinkhorn<T>(logits.view(), iterations, q.view());
  return q;
}

Matrix<std::int32_t> choices_of(const Matrix<double>& q) {
  Matrix<std::int32_t> choices(q.rows(), 2);
  select_top_k<double>(q.view(), {}, choices.view());
  return choices;
}

Rows rows_of(const auto& m) {
  Rows rows;
  for (Index t = 0; t < m.rows(); ++t) rows.emplace_back(m.row(t).begin(), m.row(t).end());
  return rows;
}

TEST(SinkhornTest, EqualsPlainLoops) {
  for (const Index iterations : {1, 2, 8}) {
    for (const Index num_tokens : {1, 2, 9}) {
      const auto z = random_logits(iterations, num_tokens, 5, 1.5);
      const auto z_float = random_logits<float>(iterations, num_tokens, 5, 1.5);
      const Rows expected = reference_sinkhorn(rows_of(z), iterations);
      const Rows expected_float = reference_sinkhorn(rows_of(z_float), iterations);
      const auto q = balanced(z, iterations);
      const auto q_float = balanced(z_float, iterations);
      for (Index t = 0; t < num_tokens; ++t) {
        for (Index e = 0; e < 5; ++e) {
          const auto row = static_cast<std::size_t>(t);
          const auto expert = static_cast<std::size_t>(e);
          EXPECT_NEAR(q(t, e), expected[row][expert], 1e-14);
          EXPECT_NEAR(static_cast<double>(q_float(t, e)), expected_float[row][expert], 1e-7);
        }
      }
    }
  }
}

// Without a round only the order within a row is left: that of the logits.
TEST(SinkhornTest, WithoutRoundsItSelectsByLogits) {
  const auto z = random_logits(1, 20, 6, 2.0);
  const auto by_q = choices_of(balanced(z, 0));
  const auto by_z = choices_of(z);
  EXPECT_TRUE(std::ranges::equal(by_q.flat(), by_z.flat()));
}

TEST(SinkhornTest, EveryExpertHasTheSameShareAfterAnyRound) {
  for (const Index iterations : {1, 3, 200}) {
    const auto z = random_logits(2, 30, 6, 3.0);
    const auto q = balanced(z, iterations);
    double least_row = 1.0;
    double largest_row = 0.0;
    for (Index t = 0; t < 30; ++t) {
      double row = 0.0;
      for (Index e = 0; e < 6; ++e) row += q(t, e);
      least_row = std::min(least_row, row);
      largest_row = std::max(largest_row, row);
    }
    for (Index e = 0; e < 6; ++e) {
      double column = 0.0;
      for (Index t = 0; t < 30; ++t) column += q(t, e);
      EXPECT_NEAR(column, 1.0 / 6.0, 1e-15 * 30);
    }
    // Of the tokens' shares that is so after many rounds only.
    EXPECT_EQ(largest_row - least_row < 1e-6 / 30.0, iterations == 200) << largest_row - least_row;
  }
}

// It selects more evenly than the logits do, which is what it is for.
TEST(SinkhornTest, APopularExpertLosesTokens) {
  auto z = random_logits(3, 60, 4, 1.0);
  for (Index t = 0; t < 60; ++t) z(t, 2) += 3.0;
  const auto count = [](const Matrix<double>& q, std::int32_t expert) {
    Index n = 0;
    for (Index t = 0; t < q.rows(); ++t) n += choices_of(q)(t, 0) == expert ? 1 : 0;
    return n;
  };
  EXPECT_GT(count(z, 2), 50);
  EXPECT_LT(count(balanced(z, 20), 2), 30);
}

TEST(SinkhornTest, AConstantOnATokensLogitsChangesNothing) {
  const auto z = random_logits(4, 25, 6, 2.0);
  auto shifted = random_logits(4, 25, 6, 2.0);
  for (Index t = 0; t < 25; ++t) {
    for (double& logit : shifted.row(t)) logit += 40.0 * static_cast<double>(t % 5) - 64.0;
  }
  const auto q = balanced(z, 8);
  const auto q_shifted = balanced(shifted, 8);
  for (Index t = 0; t < 25; ++t) {
    for (Index e = 0; e < 6; ++e) EXPECT_NEAR(q_shifted(t, e), q(t, e), 1e-12 * q(t, e));
  }
  EXPECT_TRUE(std::ranges::equal(choices_of(q).flat(), choices_of(q_shifted).flat()));
}

TEST(SinkhornTest, ExtremeLogitsStayFinite) {
  const double most = std::numeric_limits<float>::max();
  for (const double far : {800.0, 1e5, most}) {
    for (const Index iterations : {0, 1, 2, 50}) {
      Matrix<double> z(4, 3);
      z.fill(0.0);
      for (Index t = 0; t < 4; ++t) z(t, 0) = -far;  // nobody can see expert 0
      z(1, 1) = far;
      z(2, 2) = -far;
      z(3, 2) = far;
      const auto q = balanced(z, iterations);
      Matrix<float> z_float(4, 3);
      std::ranges::transform(z.flat(), z_float.flat().begin(), [](double v) { return static_cast<float>(v); });
      const auto q_float = balanced(z_float, iterations);
      for (Index i = 0; i < z.size(); ++i) {
        const auto at = static_cast<std::size_t>(i);
        EXPECT_TRUE(std::isfinite(q.flat()[at]) && q.flat()[at] >= 0.0) << far << ", " << iterations << ": " << i;
        EXPECT_TRUE(std::isfinite(q_float.flat()[at])) << far << ", " << iterations << ": " << i;
      }
      EXPECT_EQ(choices_of(q)(1, 0), 1);
      EXPECT_EQ(choices_of(q)(3, 0), 2);
    }
  }
}

// All tokens see expert 1 alone: each round takes its factor down by the number of experts, until there is nothing left
// to divide by.
TEST(SinkhornTest, AnImpossibleBalanceStaysFiniteOverManyRounds) {
  Matrix<double> z(4, 3);
  z.fill(-2000.0);
  for (Index t = 0; t < 4; ++t) z(t, 1) = static_cast<double>(t);
  const auto q = balanced(z, 3000);
  EXPECT_TRUE(std::ranges::all_of(q.flat(), [](double v) { return std::isfinite(v) && v >= 0.0; }));
  for (Index t = 0; t < 4; ++t) EXPECT_EQ(choices_of(q)(t, 0), 1);
}

TEST(SinkhornTest, NoTokens) {
  Matrix<double> none(0, 4);
  sinkhorn<double>(none.view(), 8, none.view());
  EXPECT_EQ(none.size(), 0);
}

}  // namespace
}  // namespace conclave::gating
