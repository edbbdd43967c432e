// SPDX-License-Identifier: BSD-3-Clause
// Choosing and serving where scores are equal: small whole numbers as scores, so that ties are the rule.
#include "gating/selection.hpp"

#include "gating/capacity.hpp"
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

template <class T>
Matrix<T> matrix_of(const IndexRows& rows, Index cols) {
  Matrix<T> m(static_cast<Index>(rows.size()), cols);
  for (Index i = 0; i < m.rows(); ++i) {
    for (Index j = 0; j < cols; ++j) {
      m(i, j) = static_cast<T>(rows[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)]);
    }
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

// Choices of a group and the scores they are served by.
struct ClaimsCase {
  RouterOptions options;
  ReferenceRouting r;
};

IndexRows served(const ClaimsCase& c) {
  const Index experts = c.options.experts;
  const Index top_k = c.options.top_k;
  Rows chosen;
  bool any_refused = false;
  for (std::size_t t = 0; t < c.r.choices.size(); ++t) {
    Row row;
    for (const Index e : c.r.choices[t]) row.push_back(c.r.p[t][static_cast<std::size_t>(e)]);
    chosen.push_back(row);
    for (const Index refused : c.r.refused[t]) any_refused = any_refused || refused != 0;
  }
  const auto choices = matrix_of<std::int32_t>(c.r.choices, top_k);
  const auto gates = matrix_of(chosen, top_k);
  const auto scores = matrix_of(c.r.q, experts);
  const auto refused = matrix_of<char>(any_refused ? c.r.refused : IndexRows{}, top_k);
  Matrix<std::int32_t> serving(choices.rows(), top_k);
  serving.fill(77);
  serve_claims<double>({choices.view(), gates.view(), scores.view(), refused.view()},
                       {experts, c.r.capacity, c.options.priority, c.options.overflow}, serving.view());
  IndexRows result;
  for (Index t = 0; t < serving.rows(); ++t) result.emplace_back(serving.row(t).begin(), serving.row(t).end());
  return result;
}

ClaimsCase claims_case(Priority priority, Overflow overflow, Index capacity, const IndexRows& choices, const Rows& p) {
  ClaimsCase c;
  c.options.experts = static_cast<Index>(p[0].size());
  c.options.top_k = static_cast<Index>(choices[0].size());
  c.options.priority = priority;
  c.options.overflow = overflow;
  c.r.capacity = capacity;
  c.r.choices = choices;
  c.r.refused.assign(choices.size(), IndexRow(choices[0].size(), 0));
  c.r.p = p;
  c.r.q = p;
  return c;
}

TEST(ServeClaimsTest, AllFirstChoicesBeforeAnySecond) {
  const IndexRows choices = {{0, 1}, {1, 0}, {0, 1}};
  const Rows p = {{3, 2, 0}, {1, 9, 0}, {8, 7, 0}};
  EXPECT_EQ(served(claims_case(Priority::position, Overflow::drop, 2, choices, p)),
            (IndexRows{{0, 1}, {1, -1}, {0, -1}}));
  // By score: 9 (token 1), 8, 7 (token 2), 3, and 2 finds expert 1 full.
  EXPECT_EQ(served(claims_case(Priority::probability, Overflow::drop, 2, choices, p)),
            (IndexRows{{0, -1}, {1, -1}, {0, 1}}));
}

TEST(ServeClaimsTest, EqualPriorityIsServedByPosition) {
  const IndexRows choices = {{0, 1}, {0, 1}, {1, 0}};
  const Rows p = {{4, 4}, {4, 4}, {4, 4}};
  // Choices 0 of tokens 0, 1, 2, then choices 1.
  for (const Priority priority : {Priority::position, Priority::probability}) {
    EXPECT_EQ(served(claims_case(priority, Overflow::drop, 1, choices, p)), (IndexRows{{0, -1}, {-1, -1}, {1, -1}}));
    EXPECT_EQ(served(claims_case(priority, Overflow::drop, 2, choices, p)), (IndexRows{{0, 1}, {0, -1}, {1, -1}}));
  }
}

TEST(ServeClaimsTest, ReroutedToTheBestFreeExpertThatTheTokenDoesNotHold) {
  const IndexRows choices = {{0, 1}, {0, 1}, {0, 1}};
  const Rows p = {{9, 8, 1, 1, 0}, {9, 8, 1, 1, 0}, {9, 8, 1, 2, 0}};
  // Both claims of tokens 1 and 2 are dropped. In that order: token 1's first takes 2 (of the equals the lower), token
  // 2's first takes 3; then the second ones have only expert 4 left, for one of them.
  EXPECT_EQ(served(claims_case(Priority::position, Overflow::reroute, 1, choices, p)),
            (IndexRows{{0, 1}, {2, 4}, {3, -1}}));
}

TEST(ServeClaimsTest, EqualsTheReferenceWhereTiesAreTheRule) {
  Index num_dropped = 0, num_rerouted = 0, num_refused = 0;
  for (Index number = 0; number < 1500; ++number) {
    Draws draw(10000 + number);
    ClaimsCase c;
    c.options = random_options(draw);
    const Index num_tokens = draw.below(12);
    for (Index t = 0; t < num_tokens; ++t) {
      Row p, q;
      for (Index e = 0; e < c.options.experts; ++e) {
        p.push_back(static_cast<double>(draw.below(3)));
        q.push_back(static_cast<double>(draw.below(3)));
      }
      c.r.choices.push_back(reference_choices(q, c.options.top_k, c.options.blocks, c.options.blocks_kept));
      IndexRow refused(static_cast<std::size_t>(c.options.top_k), 0);
      if (c.options.top_k == 2 && draw.below(3) == 0) refused[1] = 1;
      num_refused += refused.back();
      c.r.refused.push_back(refused);
      c.r.p.push_back(p);
      c.r.q.push_back(q);
    }
    c.r.capacity = draw.below(num_tokens + 1);
    reference_serve(c.options, c.r);
    ASSERT_EQ(served(c), c.r.serving) << fmt::format("case {}", number);
    num_dropped += c.r.over_capacity;
    num_rerouted += c.r.num_rerouted;
  }
  EXPECT_GT(num_dropped, 1500);
  EXPECT_GT(num_rerouted, 200);
  EXPECT_GT(num_refused, 200);
}

}  // namespace
}  // namespace conclave::gating
