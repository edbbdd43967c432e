// SPDX-License-Identifier: BSD-3-Clause
// Serving claims in every order: small whole numbers as keys and scores, so that ties are the rule, tokens with fewer
// choices than others, refusals anywhere.
#include "gating/capacity.hpp"
#include "tests/gating/router_cases.hpp"

#include <gtest/gtest.h>

namespace conclave::gating {
namespace {

using namespace conclave::test;

/// Rows of up to `cols` values; short ones are filled up.
template <class T>
Matrix<T> matrix_of(const auto& rows, Index cols, T filler) {
  Matrix<T> m(static_cast<Index>(rows.size()), cols);
  m.fill(filler);
  for (Index i = 0; i < m.rows(); ++i) {
    const auto& row = rows[static_cast<std::size_t>(i)];
    for (std::size_t j = 0; j < row.size(); ++j) m(i, static_cast<Index>(j)) = static_cast<T>(row[j]);
  }
  return m;
}

// What tokens of a group ask for: r's choices, refusals, keys, q and capacity.
struct ClaimsCase {
  RouterOptions options;
  ReferenceRouting r;
};

IndexRows served(const ClaimsCase& c) {
  std::size_t columns = 0;
  bool any_refused = false;
  for (std::size_t t = 0; t < c.r.choices.size(); ++t) {
    columns = std::max(columns, c.r.choices[t].size());
    any_refused = any_refused || reference_holds(c.r.refused[t], 1);
  }
  const auto top_k = static_cast<Index>(columns);
  const auto choices = matrix_of<std::int32_t>(c.r.choices, top_k, no_expert);
  const auto keys = matrix_of<double>(c.r.key, top_k, 99.0);
  const auto scores = matrix_of<double>(c.r.q, c.options.experts, 0.0);
  const auto refused = matrix_of<char>(any_refused ? c.r.refused : IndexRows{}, top_k, 0);
  Matrix<std::int32_t> serving(choices.rows(), top_k);
  serving.fill(77);
  serve_claims<double>({choices.view(), keys.view(), scores.view(), refused.view()},
                       {c.options.experts, c.r.capacity, c.options.priority, c.options.overflow}, serving.view());
  IndexRows result;
  for (Index t = 0; t < serving.rows(); ++t) {
    const auto row = serving.row(t);
    const auto own = static_cast<std::ptrdiff_t>(c.r.choices[static_cast<std::size_t>(t)].size());
    result.emplace_back(row.begin(), row.begin() + own);
    EXPECT_TRUE(std::all_of(row.begin() + own, row.end(), [](std::int32_t e) { return e == no_expert; }));
  }
  return result;
}

// Keys of probability are those of p, of best_token the largest of the token's.
ClaimsCase claims_case(Priority priority, Overflow overflow, Index capacity, const IndexRows& choices, const Rows& p) {
  ClaimsCase c;
  c.options.experts = static_cast<Index>(p[0].size());
  c.options.priority = priority;
  c.options.overflow = overflow;
  c.r.capacity = capacity;
  c.r.choices = choices;
  for (std::size_t t = 0; t < choices.size(); ++t) {
    Row key;
    for (const Index e : choices[t]) key.push_back(p[t][static_cast<std::size_t>(e)]);
    if (priority == Priority::best_token) key.assign(key.size(), *std::max_element(key.begin(), key.end()));
    if (priority != Priority::position) c.r.key.push_back(key);
    c.r.refused.emplace_back(choices[t].size(), 0);
  }
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
  EXPECT_EQ(served(claims_case(Priority::random, Overflow::drop, 2, choices, p)),
            (IndexRows{{0, -1}, {1, -1}, {0, 1}}));
}

TEST(ServeClaimsTest, TokensInTheOrderOfTheirBestButNoSecondChoiceBeforeAFirst) {
  const IndexRows choices = {{0, 1}, {1, 0}, {0, 1}};
  const Rows p = {{3, 2, 0}, {1, 9, 0}, {8, 7, 0}};
  // First choices of tokens 1, 2, 0: expert 0 is taken by 2; then second choices of 1 (0: full), 2 (1: full), 0.
  EXPECT_EQ(served(claims_case(Priority::best_token, Overflow::drop, 1, choices, p)),
            (IndexRows{{-1, -1}, {1, -1}, {0, -1}}));
  // Expert 1 has a slot left: for token 2's second choice, whose best is above token 0's.
  EXPECT_EQ(served(claims_case(Priority::best_token, Overflow::drop, 2, choices, p)),
            (IndexRows{{0, -1}, {1, -1}, {0, 1}}));
  // A second choice with a large key waits for all first ones.
  EXPECT_EQ(served(claims_case(Priority::best_token, Overflow::drop, 1, {{0, 1}, {1, 0}}, {{9, 8}, {2, 3}})),
            (IndexRows{{0, -1}, {1, -1}}));
  EXPECT_EQ(served(claims_case(Priority::probability, Overflow::drop, 1, {{0, 1}, {1, 0}}, {{9, 8}, {2, 3}})),
            (IndexRows{{0, 1}, {-1, -1}}));
}

TEST(ServeClaimsTest, EqualPriorityIsServedByPosition) {
  const IndexRows choices = {{0, 1}, {0, 1}, {1, 0}};
  const Rows p = {{4, 4}, {4, 4}, {4, 4}};
  // Choices 0 of tokens 0, 1, 2, then choices 1.
  for (const auto& [priority, name] : enum_names(Priority{})) {
    SCOPED_TRACE(name);
    EXPECT_EQ(served(claims_case(priority, Overflow::drop, 1, choices, p)), (IndexRows{{0, -1}, {-1, -1}, {1, -1}}));
    EXPECT_EQ(served(claims_case(priority, Overflow::drop, 2, choices, p)), (IndexRows{{0, 1}, {0, -1}, {1, -1}}));
  }
}

TEST(ServeClaimsTest, PositionLooksAtNoKey) {
  ClaimsCase c = claims_case(Priority::position, Overflow::drop, 1, {{0}, {0}}, {{1, 0}, {2, 0}});
  c.r.key = {{1}, {2}};
  EXPECT_EQ(served(c), (IndexRows{{0}, {-1}}));
  c.options.priority = Priority::random;
  EXPECT_EQ(served(c), (IndexRows{{-1}, {0}}));
}

TEST(ServeClaimsTest, AbsentAndRefusedChoicesTakeNoSlot) {
  ClaimsCase c = claims_case(Priority::position, Overflow::drop, 1, {{0}, {1, 0, 2}, {2, 1}}, Rows(3, Row(4)));
  EXPECT_EQ(served(c), (IndexRows{{0}, {1, -1, -1}, {2, -1}}));
  c.r.refused[0][0] = 1;
  EXPECT_EQ(served(c), (IndexRows{{-1}, {1, 0, -1}, {2, -1}}));
  c.options.overflow = Overflow::reroute;
  // Expert 3 is free, for the first that was dropped; a refused choice is not re-routed.
  EXPECT_EQ(served(c), (IndexRows{{-1}, {1, 0, -1}, {2, 3}}));
}

TEST(ServeClaimsTest, ReroutedToTheBestFreeExpertThatTheTokenDoesNotHold) {
  const IndexRows choices = {{0, 1}, {0, 1}, {0, 1}};
  const Rows p = {{9, 8, 1, 1, 0}, {9, 8, 1, 1, 0}, {9, 8, 1, 2, 0}};
  // Both claims of tokens 1 and 2 are dropped. In that order: token 1's first takes 2 (of the equals the lower), token
  // 2's first takes 3; then the second ones have only expert 4 left, for one of them.
  EXPECT_EQ(served(claims_case(Priority::position, Overflow::reroute, 1, choices, p)),
            (IndexRows{{0, 1}, {2, 4}, {3, -1}}));
}

TEST(ServeClaimsTest, NoTokensNoClaimsNoSlots) {
  Matrix<std::int32_t> none(0, 2);
  serve_claims<double>({none.view(), {}, {}, {}}, {3, 0, Priority::position, Overflow::drop}, none.view());
  EXPECT_EQ(none.size(), 0);
  EXPECT_EQ(served(claims_case(Priority::probability, Overflow::reroute, 0, {{0}, {1}}, {{1, 2}, {1, 2}})),
            (IndexRows{{-1}, {-1}}));
}

// Claims of a group, with keys of the kind that the priority has.
ClaimsCase random_claims(Index number) {
  Draws draw(10000 + number);
  ClaimsCase c;
  c.options.experts = 1 + draw.below(8);
  c.options.priority = draw.any<Priority>();
  c.options.overflow = draw.any<Overflow>();
  const Index num_tokens = draw.below(12);
  const Index most = 1 + draw.below(std::min<Index>(c.options.experts, 4));
  const bool is_ragged = draw.yes();
  const bool are_refused = draw.yes();
  for (Index t = 0; t < num_tokens; ++t) {
    Row q;
    for (Index e = 0; e < c.options.experts; ++e) q.push_back(static_cast<double>(draw.below(3)));
    IndexRow choices = reference_choices(q, most, 1, 1);
    if (is_ragged) choices.resize(static_cast<std::size_t>(draw.below(most + 1)));
    Row key;
    IndexRow refused;
    for (std::size_t j = 0; j < choices.size(); ++j) {
      const auto drawn = static_cast<double>(draw.below(3));
      key.push_back(c.options.priority == Priority::best_token && j > 0 ? key[0] : drawn);
      refused.push_back(are_refused && draw.below(4) == 0 ? 1 : 0);
    }
    c.r.choices.push_back(choices);
    c.r.refused.push_back(refused);
    if (c.options.priority != Priority::position) c.r.key.push_back(key);
    c.r.q.push_back(q);
  }
  c.r.capacity = draw.below(num_tokens + 1);
  return c;
}

TEST(ServeClaimsTest, EqualsTheReferenceWhereTiesAreTheRule) {
  std::array<Index, 4> num_dropped{};  // by priority
  Index num_rerouted = 0, num_refused = 0, num_absent = 0;
  for (Index number = 0; number < 3000; ++number) {
    ClaimsCase c = random_claims(number);
    reference_serve(c.options, c.r);
    ASSERT_EQ(served(c), c.r.serving) << fmt::format("case {}", number);
    reference_ledger(c.r);
    num_dropped[static_cast<std::size_t>(c.options.priority)] += c.r.over_capacity;
    num_rerouted += c.r.num_rerouted;
    num_refused += c.r.num_refused;
    num_absent += c.r.num_unchosen;
  }
  for (const Index dropped : num_dropped) EXPECT_GT(dropped, 1000);
  EXPECT_GT(num_rerouted, 250);
  EXPECT_GT(num_refused, 500);
  EXPECT_GT(num_absent, 500);
}

}  // namespace
}  // namespace conclave::gating
