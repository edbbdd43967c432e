// SPDX-License-Identifier: BSD-3-Clause
#include "gating/losses.hpp"

#include "tests/support/gradient_check.hpp"

#include <gtest/gtest.h>

namespace conclave::gating {
namespace {

using Values = std::vector<double>;
using Counts = std::vector<Index>;

// Written over values of before: none may be left.
Values balance_gradient(const Counts& counted, Index num_tokens, double coefficient) {
  Values gradient(counted.size(), 99.0);
  balance_loss_gradient(counted, num_tokens, coefficient, gradient);
  return gradient;
}

Values importance_gradient(const Values& importance, double coefficient) {
  Values gradient(importance.size(), 99.0);
  importance_loss_gradient(importance, coefficient, gradient);
  return gradient;
}

Counts counted_claims(ConstMatrixView<std::int32_t> choices, BalanceCount count, std::size_t num_experts) {
  Counts counted(num_experts, 99);
  count_claims(choices, count, counted);
  return counted;
}

TEST(BalanceLossTest, IsOneForEvenCountsOrEvenProbabilities) {
  EXPECT_DOUBLE_EQ(balance_loss(Counts{2, 2}, Values{3.0, 1.0}, 4), 1.0);
  EXPECT_DOUBLE_EQ(balance_loss(Counts{3, 1}, Values{2.0, 2.0}, 4), 1.0);
}

TEST(BalanceLossTest, IsTheFormula) {
  // 2 (3/4 3/4 + 1/4 1/4)
  EXPECT_DOUBLE_EQ(balance_loss(Counts{3, 1}, Values{3.0, 1.0}, 4), 1.25);
  // All choices of two a token: N = 8 claims of 4 tokens; 2 (6/8 3/4 + 2/8 1/4)
  EXPECT_DOUBLE_EQ(balance_loss(Counts{6, 2}, Values{3.0, 1.0}, 4), 1.25);
  // All on one of three
  EXPECT_DOUBLE_EQ(balance_loss(Counts{0, 5, 0}, Values{0.0, 5.0, 0.0}, 5), 3.0);
  EXPECT_EQ(balance_loss(Counts{0, 0}, Values{0.0, 0.0}, 0), 0.0);
}

TEST(BalanceLossTest, GradientIsThatOfEachTokensProbability) {
  // 0.5 * 2 / 4 * {3/4, 1/4}
  EXPECT_EQ(balance_gradient(Counts{3, 1}, 4, 0.5), (Values{0.1875, 0.0625}));
  EXPECT_EQ(balance_gradient(Counts{0, 0}, 0, 0.5), (Values{0.0, 0.0}));
  const Counts counted = {4, 1, 2};
  const Values probability = {2.5, 1.25, 3.25};  // sums over 7 tokens: adding to one token's adds to the sum
  test::expect_gradient([&](std::span<const double> p) { return 0.3 * balance_loss(counted, p, 7); }, probability,
                        balance_gradient(counted, 7, 0.3));
}

TEST(ImportanceLossTest, IsTheSquaredCoefficientOfVariation) {
  EXPECT_DOUBLE_EQ(importance_loss(Values{1.0, 3.0}), 0.25);      // mean 2, variance 1
  EXPECT_DOUBLE_EQ(importance_loss(Values{0.0, 0.0, 6.0}), 2.0);  // mean 2, variance 8
  EXPECT_DOUBLE_EQ(importance_loss(Values{20.0, 60.0}), 0.25);    // whatever the scale
  EXPECT_EQ(importance_loss(Values{2.0, 2.0, 2.0}), 0.0);
  EXPECT_EQ(importance_loss(Values{5.0}), 0.0);
  EXPECT_EQ(importance_loss(Values{0.0, 0.0}), 0.0);
}

TEST(ImportanceLossTest, GradientIsTheGradient) {
  const Values importance = {1.5, 0.25, 2.0, 0.0, 0.75};
  test::expect_gradient([](std::span<const double> i) { return -0.7 * importance_loss(i); }, importance,
                        importance_gradient(importance, -0.7));
  EXPECT_EQ(importance_gradient(Values{0.0, 0.0}, 1.0), (Values{0.0, 0.0}));
}

TEST(CountClaimsTest, AllOrFirstChoices) {
  Matrix<std::int32_t> choices(3, 2);
  const std::array<std::int32_t, 6> experts = {0, 2, 2, 0, 2, 3};
  std::copy(experts.begin(), experts.end(), choices.data());
  EXPECT_EQ(counted_claims(choices.view(), BalanceCount::all, 5), (Counts{2, 0, 3, 1, 0}));
  EXPECT_EQ(counted_claims(choices.view(), BalanceCount::first, 5), (Counts{1, 0, 2, 0, 0}));
  EXPECT_EQ(counted_claims({nullptr, 0, 2, 2}, BalanceCount::all, 3), (Counts{0, 0, 0}));
}

Values moved(const Counts& load, double rate, Values bias) {
  update_selection_bias<double>(load, rate, bias);
  return bias;
}

TEST(SelectionBiasTest, MovesTowardsTheMeanLoad) {
  EXPECT_EQ(moved({5, 1, 3}, 0.5, {1.0, 1.0, 1.0}), (Values{0.5, 1.5, 1.0}));
  EXPECT_EQ(moved({2, 1, 1}, 0.5, {0.0, 0.0, 0.0}), (Values{-0.5, 0.5, 0.5})) << "the mean is not whole";
  EXPECT_EQ(moved({4, 4}, 0.5, {1.0, -1.0}), (Values{1.0, -1.0}));
  EXPECT_EQ(moved({0, 0}, 0.5, {1.0, -1.0}), (Values{1.0, -1.0}));
  EXPECT_EQ(moved({9, 0}, 0.0, {1.0, -1.0}), (Values{1.0, -1.0}));
  // Counts whose double would not tell them apart.
  const Index large = Index{1} << 55;
  EXPECT_EQ(moved({large, large + 1}, 0.5, {0.0, 0.0}), (Values{0.5, -0.5}));
}

}  // namespace
}  // namespace conclave::gating
