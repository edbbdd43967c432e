// SPDX-License-Identifier: BSD-3-Clause
// Choosing where scores are equal: small whole numbers as scores, so that ties are the rule.
#include "gating/selection.hpp"

#include "tests/gating/router_cases.hpp"

#include <gtest/gtest.h>

namespace conclave::gating {
namespace {

using namespace conclave::test;

Matrix<double> matrix_of(const Rows& rows, Index cols) {
  Matrix<double> m(static_cast<Index>(rows.size()), cols);
  for (Index i = 0; i < m.rows(); ++i) {
    for (Index j = 0; j < cols; ++j) m(i, j) = rows[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)];
  }
  return m;
}

IndexRow choices_of(const Row& score, Index top_k, Blocks blocks) {
  Matrix<std::int32_t> choices(1, top_k);
  select_top_k<double>(matrix_of(Rows{score}, static_cast<Index>(score.size())).view(), blocks, choices.view());
  return {choices.row(0).begin(), choices.row(0).end()};
}

TEST(SelectionTest, BestFirstAndTheLowerExpertOfEquals) {
  EXPECT_EQ(choices_of({1, 5, 3, 5, 2}, 3, {}), (IndexRow{1, 3, 2}));
  EXPECT_EQ(choices_of({2, 2, 2, 2}, 3, {}), (IndexRow{0, 1, 2}));
  EXPECT_EQ(choices_of({-3, -1, -2}, 3, {}), (IndexRow{1, 2, 0}));
  EXPECT_EQ(choices_of({7}, 1, {}), (IndexRow{0}));
}

TEST(SelectionTest, BlocksByTheSumOfTheirTwoBest) {
  // Block sums 9 + 0, 5 + 5, 6 + 3: the best expert of all stands in a block that is not kept.
  EXPECT_EQ(choices_of({9, 0, -9, 5, 5, 5, 6, 3, 3}, 2, {3, 1}), (IndexRow{3, 4}));
  // The lower block of equals, in front of a higher one with the better expert.
  EXPECT_EQ(choices_of({9, 0, -9, 5, 5, 5, 6, 3, 3}, 3, {3, 2}), (IndexRow{0, 3, 4}));
  EXPECT_EQ(choices_of({4, 4, 4, 4, 8, 0}, 2, {3, 1}), (IndexRow{0, 1}));
  // Blocks of one expert count it once.
  EXPECT_EQ(choices_of({1, 4, 3}, 2, {3, 2}), (IndexRow{1, 2}));
}

TEST(SelectionTest, EqualsTheReferenceWhereTiesAreTheRule) {
  Index num_ties = 0;
  for (Index number = 0; number < 500; ++number) {
    Draws draw(number);
    const RouterOptions o = random_options(draw);
    Row score;
    for (Index e = 0; e < o.experts; ++e) score.push_back(static_cast<double>(draw.below(3)));
    const IndexRow expected = reference_choices(score, o.top_k, o.blocks, o.blocks_kept);
    ASSERT_EQ(choices_of(score, o.top_k, {o.blocks, o.blocks_kept}), expected) << fmt::format("case {}", number);
    const double last = score[static_cast<std::size_t>(expected.back())];
    num_ties += std::count(score.begin(), score.end(), last) > 1 ? 1 : 0;
  }
  EXPECT_GT(num_ties, 200);
}

TEST(SelectionTest, NoTokensNoChoices) {
  Matrix<std::int32_t> choices(0, 2);
  select_top_k<double>({nullptr, 0, 4, 4}, {2, 1}, choices.view());
  EXPECT_EQ(choices.size(), 0);
}

}  // namespace
}  // namespace conclave::gating
