// SPDX-License-Identifier: BSD-3-Clause
#include "gating/dispatch_plan.hpp"

#include "tests/gating/router_cases.hpp"

#include <gtest/gtest.h>

namespace conclave::gating {
namespace {

using test::Draws;
using Routings = std::vector<Routing<double>>;

std::vector<const Routing<double>*> pointers(const Routings& routings) {
  std::vector<const Routing<double>*> result;
  for (const Routing<double>& r : routings) result.push_back(&r);
  return result;
}

std::vector<ExpertId> ids(const std::vector<Index>& numbers) {
  std::vector<ExpertId> result;
  for (const Index n : numbers) result.emplace_back(n);
  return result;
}

Routing<double> routing(Index num_tokens, Index num_experts, std::vector<Assignment<double>> kept) {
  RoutingCounts counts;
  counts.load.assign(static_cast<std::size_t>(num_experts), 0);
  for (const Assignment<double>& a : kept) ++counts.load[static_cast<std::size_t>(a.expert.value())];
  return {num_tokens, num_experts, std::move(kept), std::move(counts)};
}

// Each token keeps about half of three choices, which begin anywhere and go round the experts.
Routing<double> random_routing(Draws& draw, Index num_tokens, Index num_experts) {
  std::vector<Assignment<double>> kept;
  for (Index t = 0; t < num_tokens; ++t) {
    const Index first = draw.below(num_experts);
    for (Index j = 0; j < std::min<Index>(3, num_experts); ++j) {
      if (draw.yes()) kept.push_back({t, ExpertId{(first + j) % num_experts}, j, draw.uniform()});
    }
  }
  return routing(num_tokens, num_experts, std::move(kept));
}

std::vector<ExpertId> random_order(Draws& draw, Index num_experts) {
  std::vector<ExpertId> order;
  for (Index e = 0; e < num_experts; ++e) order.insert(order.begin() + draw.below(e + 1), ExpertId{e});
  return order;
}

TEST(DispatchPlanTest, RowsStandByExpertInTheOrderGivenThenByToken) {
  // Group 0: token 0 to experts 2 and 0, token 1 to none; group 1: token 2 to expert 0, token 3 to experts 0 and 2.
  Routings groups;
  groups.push_back(routing(2, 3, {{0, ExpertId{2}, 0, 1.0}, {0, ExpertId{0}, 1, 1.0}}));
  groups.push_back(routing(2, 3, {{0, ExpertId{0}, 0, 1.0}, {1, ExpertId{0}, 0, 1.0}, {1, ExpertId{2}, 1, 1.0}}));
  const DispatchPlan plan(pointers(groups), ids({2, 1, 0}));
  EXPECT_EQ(plan.num_tokens(), 4);
  ASSERT_EQ(plan.num_rows(), 5);
  EXPECT_EQ(plan.rows_per_expert(), (std::vector<Index>{2, 0, 3}));
  std::vector<Index> tokens, rows;
  for (Index i = 0; i < 5; ++i) {
    tokens.push_back(plan.token_of_row(i));
    rows.push_back(plan.row_of_choice(i));
  }
  EXPECT_EQ(tokens, (std::vector<Index>{0, 3, 0, 2, 3}));
  EXPECT_EQ(rows, (std::vector<Index>{0, 2, 3, 4, 1}));
  EXPECT_EQ(plan.choices_of(0), (Range{0, 2}));
  EXPECT_EQ(plan.choices_of(1), (Range{2, 2}));
  EXPECT_EQ(plan.choices_of(2), (Range{2, 3}));
  EXPECT_EQ(plan.choices_of(3), (Range{3, 5}));
}

TEST(DispatchPlanTest, EveryKeptChoiceHasOneRowInItsExpertsPlace) {
  Index num_rows = 0;
  DispatchPlan plan;  // one for all: nothing may be left of the last
  for (Index number = 0; number < 200; ++number) {
    SCOPED_TRACE(fmt::format("case {}", number));
    Draws draw(number);
    const Index num_experts = 1 + draw.below(7);
    const Index num_tokens = draw.below(6);
    const Index num_groups = draw.below(5);
    Routings groups;
    for (Index g = 0; g < num_groups; ++g) groups.push_back(random_routing(draw, num_tokens, num_experts));
    const auto order = random_order(draw, num_experts);
    plan.assign<double>(pointers(groups), order);
    ASSERT_EQ(plan.num_tokens(), num_groups * num_tokens);

    // The sort by hand: for each expert in order, all tokens.
    std::vector<Index> tokens;
    std::vector<Index> per_expert;
    Index choice = 0;
    for (const ExpertId expert : order) {
      per_expert.push_back(0);
      choice = 0;
      for (Index t = 0; t < plan.num_tokens(); ++t) {
        const auto kept = groups[static_cast<std::size_t>(t / num_tokens)].kept_of(t % num_tokens);
        ASSERT_EQ(plan.choices_of(t), (Range{choice, choice + static_cast<Index>(kept.size())}));
        for (const Assignment<double>& a : kept) {
          if (a.expert == expert) {
            ASSERT_EQ(plan.row_of_choice(choice), static_cast<Index>(tokens.size()));
            tokens.push_back(t);
            ++per_expert.back();
          }
          ++choice;
        }
      }
    }
    ASSERT_EQ(plan.num_rows(), choice);
    ASSERT_EQ(plan.rows_per_expert(), per_expert);
    for (Index row = 0; row < plan.num_rows(); ++row) {
      ASSERT_EQ(plan.token_of_row(row), tokens[static_cast<std::size_t>(row)]);
    }
    num_rows += plan.num_rows();
  }
  EXPECT_GT(num_rows, 1000);
}

// As if each run's claims were on an expert of their own.
TEST(DispatchPlanTest, ClaimsOnAnExpertMayBeSentInRuns) {
  Index num_cut = 0;
  for (Index number = 0; number < 100; ++number) {
    SCOPED_TRACE(fmt::format("case {}", number));
    Draws draw(1000 + number);
    const Index num_experts = 1 + draw.below(4);
    Routings groups;
    for (Index g = 0; g < 3; ++g) groups.push_back(random_routing(draw, 5, num_experts));
    std::vector<Index> claims(static_cast<std::size_t>(num_experts));
    count_claims<double>(pointers(groups), claims);
    std::vector<ClaimRun> runs;
    for (Index e = 0; e < num_experts; ++e) {
      const Index all = claims[static_cast<std::size_t>(e)];
      const Index first = draw.below(all + 1);
      const Index second = first + draw.below(all - first + 1);
      for (const Range run : {Range{0, first}, Range{first, second}, Range{second, all}}) {
        runs.insert(runs.begin() + draw.below(std::ssize(runs) + 1), {ExpertId{e}, run.begin, run.size()});
        num_cut += run.empty() ? 0 : 1;
      }
    }
    DispatchPlan plan;
    plan.assign<double>(pointers(groups), num_experts, runs);
    std::vector<Index> first_row;
    Index row = 0;
    for (std::size_t i = 0; i < runs.size(); ++i) {
      EXPECT_EQ(plan.rows_per_expert()[i], runs[i].rows);
      first_row.push_back(row);
      row += runs[i].rows;
    }
    ASSERT_EQ(plan.num_rows(), row);
    std::vector<Index> done(claims.size());
    Index choice = 0;
    for (Index t = 0; t < plan.num_tokens(); ++t) {
      for (const Assignment<double>& a : groups[static_cast<std::size_t>(t / 5)].kept_of(t % 5)) {
        const Index claim = done[static_cast<std::size_t>(a.expert.value())]++;
        const auto run = std::ranges::find_if(runs, [&](const ClaimRun& r) {
          return r.expert == a.expert && r.first <= claim && claim < r.first + r.rows;
        });
        ASSERT_NE(run, runs.end());
        ASSERT_EQ(plan.row_of_choice(choice),
                  first_row[static_cast<std::size_t>(run - runs.begin())] + claim - run->first);
        ASSERT_EQ(plan.token_of_row(plan.row_of_choice(choice)), t);
        ++choice;
      }
    }
  }
  EXPECT_GT(num_cut, 400);
}

TEST(DispatchPlanTest, RefusesRunsThatDoNotHaveEachClaimOnce) {
  Routings groups;
  groups.push_back(routing(3, 2, {{0, ExpertId{0}, 0, 1.0}, {1, ExpertId{0}, 0, 1.0}, {2, ExpertId{1}, 0, 1.0}}));
  DispatchPlan plan;
  const auto assign = [&](const std::vector<ClaimRun>& runs) { plan.assign<double>(pointers(groups), 2, runs); };
  EXPECT_NO_THROW(assign({{ExpertId{1}, 0, 1}, {ExpertId{0}, 1, 1}, {ExpertId{0}, 0, 1}}));
  EXPECT_THROW(assign({{ExpertId{1}, 0, 1}, {ExpertId{0}, 0, 1}}), InvariantError);
  EXPECT_THROW(assign({{ExpertId{1}, 0, 1}, {ExpertId{0}, 0, 3}}), InvariantError);
  EXPECT_THROW(assign({{ExpertId{1}, 0, 1}, {ExpertId{2}, 0, 0}, {ExpertId{0}, 0, 2}}), InvariantError);
}

TEST(DispatchPlanTest, WithoutGroupsTokensOrKeptChoices) {
  EXPECT_EQ(DispatchPlan().num_rows(), 0);
  EXPECT_EQ(DispatchPlan().num_tokens(), 0);
  const DispatchPlan none(std::vector<const Routing<double>*>{}, ids({0, 1}));
  EXPECT_EQ(none.num_rows(), 0);
  EXPECT_EQ(none.num_tokens(), 0);
  EXPECT_EQ(none.rows_per_expert(), (std::vector<Index>{0, 0}));

  Routings groups;
  groups.push_back(routing(0, 2, {}));
  EXPECT_EQ(DispatchPlan(pointers(groups), ids({1, 0})).num_tokens(), 0);

  Routings dropped;  // all of the first group's choices
  dropped.push_back(routing(2, 2, {}));
  dropped.push_back(routing(2, 2, {{1, ExpertId{1}, 0, 1.0}}));
  const DispatchPlan plan(pointers(dropped), ids({0, 1}));
  EXPECT_EQ(plan.num_tokens(), 4);
  EXPECT_EQ(plan.num_rows(), 1);
  EXPECT_EQ(plan.token_of_row(0), 3);
  EXPECT_EQ(plan.choices_of(1), (Range{0, 0}));
}

}  // namespace
}  // namespace conclave::gating
