// SPDX-License-Identifier: BSD-3-Clause
// What expert choice promises beside its formula, which stands in router_test.cpp: an even load, ties, tokens that
// nobody takes.
#include "gating/expert_choice_router.hpp"

#include "runtime/core/gemm.hpp"
#include "tests/gating/router_cases.hpp"

#include <gtest/gtest.h>

namespace conclave::gating {
namespace {

using namespace conclave::test;

class ExpertChoiceTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { make_blas_single_threaded(); }

  static RouterCase case_of(Index experts, Index num_tokens, double capacity_factor) {
    Draws draw(77);
    RouterCase c;
    c.options.router = "expert_choice";
    c.options.experts = experts;
    c.options.top_k = 2;
    c.options.capacity_factor = capacity_factor;
    c.options.min_capacity = 0;
    c.width = 4;
    c.num_tokens = num_tokens;
    fill_case(c, draw);
    return c;
  }
  static std::unique_ptr<RouterTape<double>> route(const RouterCase& c) {
    auto tape = c.router->make_tape();
    c.router->route(ParameterView<const double>(c.values), input_of(c), *tape);
    return tape;
  }
};

TEST_F(ExpertChoiceTest, EveryExpertTakesItsSlotsAndNoClaimIsLost) {
  const auto tape = route(case_of(5, 20, 0.6));
  const RoutingCounts& counts = tape->routing.counts();
  EXPECT_EQ(counts.load, IndexRow(5, 5)) << "ceil(0.6 * 2 * 20 / 5)";
  EXPECT_EQ(counts.dropped(), 0);
  EXPECT_EQ(std::ssize(tape->routing.kept()), 25);
  // Tokens are not even: some have several experts, some none, and those stand in the ledger once.
  Index most = 0;
  Index unserved = 0;
  for (Index t = 0; t < 20; ++t) {
    most = std::max(most, std::ssize(tape->routing.kept_of(t)));
    unserved += tape->routing.kept_of(t).empty() ? 1 : 0;
  }
  EXPECT_GT(most, 2) << "top_k is no limit";
  EXPECT_GT(unserved, 1);
  EXPECT_EQ(counts.count(DropReason::unchosen), unserved);
  for (const Drop& d : counts.drops) EXPECT_EQ(d, (Drop{d.token, 0, ExpertId{no_expert}, DropReason::unchosen}));
}

TEST_F(ExpertChoiceTest, EqualScoresGoToTheLowerTokens) {
  RouterCase c = case_of(3, 9, 0.5);  // ceil(0.5 * 2 * 9 / 3) = 3 tokens each
  c.x.assign(c.x.size(), 0.0);
  const auto tape = route(c);
  std::vector<Assignment<double>> expected;
  for (Index t = 0; t < 3; ++t) {
    for (Index e = 0; e < 3; ++e) expected.push_back({t, ExpertId{e}, e, tape->routing.kept()[0].gate});
  }
  EXPECT_EQ(tape->routing.kept(), expected);
  EXPECT_NEAR(expected[0].gate, 1.0 / 3.0, 1e-15);
  EXPECT_EQ(tape->routing.counts().count(DropReason::unchosen), 6);
}

TEST_F(ExpertChoiceTest, WithSlotsForAllEveryExpertTakesAll) {
  const auto tape = route(case_of(3, 7, 100.0));
  EXPECT_EQ(tape->routing.counts().load, IndexRow(3, 7));
  EXPECT_TRUE(tape->routing.counts().drops.empty());
  for (Index t = 0; t < 7; ++t) {
    double sum = 0.0;
    for (const auto& a : tape->routing.kept_of(t)) sum += a.gate;
    EXPECT_NEAR(sum, 1.0, 1e-14) << "gates are the scores, a softmax";
  }
}

}  // namespace
}  // namespace conclave::gating
