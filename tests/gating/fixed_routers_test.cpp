// SPDX-License-Identifier: BSD-3-Clause
// What each router without scores promises beside its formula: the formula itself stands in router_test.cpp.
#include "gating/fixed_router.hpp"

#include "runtime/core/gemm.hpp"
#include "tests/gating/router_cases.hpp"

#include <gtest/gtest.h>

namespace conclave::gating {
namespace {

using namespace conclave::test;

/// A router of that name without a limit of slots.
RouterOptions options_of(const std::string& router, Index experts, Index top_k) {
  RouterOptions o;
  o.router = router;
  o.experts = experts;
  o.top_k = top_k;
  o.capacity_factor = o.eval_capacity_factor = 0.0;
  if (router == "rule") o.rules = "class digit -> 0,1; default -> 2,3";
  return o;
}

/// What a group of these tokens is given; ids are the places in the group where not given.
struct Group {
  Index num_tokens = 0;
  Index first_token = 0;
  Index layer = 0;
  Index step = 0;
  bool training = true;
  std::vector<std::int32_t> ids{};
};

std::unique_ptr<RouterTape<double>> route(const RouterOptions& o, Group group, Index seed = 4) {
  ParameterList none;
  const auto router = make_router<double>(o, seed, 2, none, "");
  EXPECT_EQ(none.size(), 0) << "there is nothing to learn";
  for (Index t = std::ssize(group.ids); t < group.num_tokens; ++t) group.ids.push_back(static_cast<std::int32_t>(t));
  const Matrix<double> x(group.num_tokens, 2);
  auto tape = router->make_tape();
  router->route({},
                {x.view(),
                 std::span(group.ids).first(static_cast<std::size_t>(group.num_tokens)),
                 {},
                 {},
                 TokenId{group.first_token},
                 group.layer,
                 group.step,
                 group.training},
                *tape);
  return tape;
}

/// The experts of every token, in the order of its choices.
IndexRows experts_of(const Routing<double>& routing) {
  IndexRows rows(static_cast<std::size_t>(routing.num_tokens()));
  for (const auto& a : routing.kept()) rows[static_cast<std::size_t>(a.token)].push_back(a.expert.value());
  return rows;
}

IndexRows experts_of(const RouterOptions& o, const Group& group, Index seed = 4) {
  return experts_of(route(o, group, seed)->routing);
}

/// Tokens whose experts differ.
Index num_different(const IndexRows& a, const IndexRows& b) {
  Index n = 0;
  for (std::size_t t = 0; t < a.size(); ++t) n += a[t] != b[t] ? 1 : 0;
  return n;
}

TEST(FixedRouterTest, GatesAreEvenAndNothingIsLearnt) {
  for (const RouterKind& kind : router_kinds()) {
    if (kind.has_scores) continue;
    SCOPED_TRACE(kind.name);
    RouterOptions o = options_of(std::string(kind.name), 6, 2);
    o.gate_scale = 3.0;  // not for them
    o.normalise = Normalise::none;
    o.capacity_factor = 0.5;
    o.min_capacity = 0;
    ParameterList none;
    const auto router = make_router<double>(o, 1, 3, none, "");
    EXPECT_EQ(none.size(), 0);
    const Matrix<double> x(40, 3);
    std::vector<std::int32_t> ids;
    for (Index t = 0; t < 40; ++t) ids.push_back(static_cast<std::int32_t>(40 + 3 * t % 37));
    const RouterInput<double> input{x.view(), ids, {}, {}, TokenId{80}, 1, 2, true};
    const auto tape = router->make_tape();
    router->route({}, input, *tape);
    const auto& routing = tape->routing;
    IndexRow asked(40, 0);  // choices, kept or not
    for (const auto& a : routing.kept()) ++asked[static_cast<std::size_t>(a.token)];
    for (const Drop& d : routing.counts().drops) ++asked[static_cast<std::size_t>(d.token)];
    EXPECT_GT(routing.kept().size(), 10U);
    EXPECT_GT(routing.counts().dropped(), 10);
    EXPECT_EQ(routing.counts().rerouted, 0);
    for (const auto& a : routing.kept()) {
      EXPECT_EQ(a.gate, 1.0 / static_cast<double>(asked[static_cast<std::size_t>(a.token)]));
    }
    EXPECT_EQ(tape->balance.z_sum, 0.0);
    EXPECT_EQ(tape->balance.importance, 0.0);
    EXPECT_EQ(tape->balance.entropy_sum, 0.0);
    EXPECT_EQ(balance_loss(tape->balance.counted, tape->balance.probability, 40), 0.0);

    Matrix<double> dx(40, 3);
    dx.fill(7.0);
    const Row d_gates(routing.kept().size(), 1.0);
    router->backward({}, input, *tape, d_gates, {1.0, 1.0, 1.0, 1, {}}, dx.view(), {});
    EXPECT_TRUE(std::ranges::all_of(std::as_const(dx).flat(), [](double d) { return d == 7.0; }));
  }
}

TEST(HashRouterTest, IsTheSameInAnyLayerStepAndPlace) {
  const RouterOptions o = options_of("hash", 16, 3);
  const IndexRows here = experts_of(o, {200});
  EXPECT_EQ(experts_of(o, {200, 1000, 5, 77, false}), here);
  // The token's number in the vocabulary decides, wherever it stands.
  const IndexRows other = experts_of(o, {4, 0, 0, 0, true, {9, 150, 9, 0}});
  EXPECT_EQ(other, (IndexRows{here[9], here[150], here[9], here[0]}));
  EXPECT_GT(num_different(experts_of(o, {200}, 5), here), 190) << "another seed";
}

TEST(RandomRouterTest, DiffersByLayerStepAndToken) {
  const RouterOptions o = options_of("random", 16, 3);
  const IndexRows here = experts_of(o, {200});
  EXPECT_EQ(experts_of(o, {200}), here);
  for (const Group& group : {Group{200, 0, 1, 0}, Group{200, 0, 0, 1}}) {
    EXPECT_GT(num_different(experts_of(o, group), here), 190);
  }
  const IndexRows later = experts_of(o, {150, 50});
  EXPECT_EQ(num_different(later, IndexRows(here.begin() + 50, here.end())), 0) << "a token's draws are its own";
  EXPECT_EQ(experts_of(o, {200, 0, 0, 0, true, std::vector<std::int32_t>(200, 7)}), here) << "whatever the token";
}

TEST(HashAndRandomRouterTest, GiveEachTokenDifferentExpertsEvenly) {
  constexpr Index num_tokens = 8000;
  for (const auto* name : {"hash", "random"}) {
    for (const Index top_k : {1, 3, 5}) {
      IndexRow load(5, 0);
      for (IndexRow experts : experts_of(options_of(name, 5, top_k), {num_tokens})) {
        ASSERT_EQ(std::ssize(experts), top_k);
        for (const Index e : experts) ++load[static_cast<std::size_t>(e)];
        std::sort(experts.begin(), experts.end());
        ASSERT_EQ(std::adjacent_find(experts.begin(), experts.end()), experts.end());
      }
      const double share = static_cast<double>(top_k) / 5.0;
      const double bound = 6.0 * std::sqrt(share * (1.0 - share) * num_tokens);
      for (const Index n : load) EXPECT_NEAR(static_cast<double>(n), share * num_tokens, bound) << name << top_k;
    }
  }
}

TEST(RoundRobinRouterTest, IsEvenOverTheStep) {
  const RouterOptions o = options_of("round_robin", 5, 3);
  EXPECT_EQ(experts_of(o, {4}), (IndexRows{{0, 1, 2}, {3, 4, 0}, {1, 2, 3}, {4, 0, 1}}));
  // Groups of 7 tokens: each goes on where the one before ended.
  IndexRow load(5, 0);
  for (Index g = 0; g < 5; ++g) {
    for (const IndexRow& experts : experts_of(o, {7, 7 * g})) {
      for (const Index e : experts) ++load[static_cast<std::size_t>(e)];
    }
  }
  EXPECT_EQ(load, IndexRow(5, 21));
}

TEST(LeastLoadedRouterTest, LoadsAreInProportionToTheWeights) {
  RouterOptions o = options_of("least_loaded", 4, 1);
  EXPECT_EQ(experts_of(o, {6, 3}), (IndexRows{{0}, {1}, {2}, {3}, {0}, {1}}));
  o.load_weight = {1.0, 2.0, 4.0, 0.5};
  EXPECT_EQ(route(o, {750})->routing.counts().load, (IndexRow{100, 200, 400, 50}));
  o.top_k = 2;
  for (const IndexRow& experts : experts_of(o, {100})) {
    ASSERT_EQ(experts.size(), 2U);
    EXPECT_NE(experts[0], experts[1]);
  }
  o.top_k = 4;
  o.load_weight = {9.0, 1.0, 1.0, 1.0};
  EXPECT_EQ(route(o, {10})->routing.counts().load, (IndexRow{10, 10, 10, 10}))
      << "no expert twice, whatever its weight";
}

TEST(BernoulliRouterTest, ExpertsAreActiveAsOftenAsTheirProbability) {
  constexpr Index num_tokens = 20000;
  RouterOptions o = options_of("bernoulli", 4, 1);
  o.activation = {0.05, 0.3, 0.75, 1.0};
  const IndexRow load = route(o, {num_tokens})->routing.counts().load;
  for (std::size_t e = 0; e < 4; ++e) {
    const double a = o.activation[e];
    EXPECT_NEAR(static_cast<double>(load[e]), a * num_tokens, 6.0 * std::sqrt(a * (1.0 - a) * num_tokens)) << e;
  }
  // Together, as independent draws are.
  Index num_both = 0;
  for (const IndexRow& experts : experts_of(o, {num_tokens})) {
    num_both += reference_holds(experts, 1) && reference_holds(experts, 2) ? 1 : 0;
  }
  const double both = 0.3 * 0.75;
  EXPECT_NEAR(static_cast<double>(num_both), both * num_tokens, 6.0 * std::sqrt(both * (1.0 - both) * num_tokens));
}

TEST(BernoulliRouterTest, NoTokenIsLeftWithoutAnExpert) {
  constexpr Index num_tokens = 9000;
  RouterOptions o = options_of("bernoulli", 3, 1);
  o.activation = {0.001, 0.001, 0.001};
  const auto tape = route(o, {num_tokens});
  for (Index t = 0; t < num_tokens; ++t) ASSERT_GE(tape->routing.kept_of(t).size(), 1U);
  // Nearly all fall back on the even draw.
  for (const Index n : tape->routing.counts().load) {
    EXPECT_NEAR(static_cast<double>(n), num_tokens / 3.0, 6.0 * std::sqrt(2.0 / 9.0 * num_tokens) + 60.0);
  }
}

// The mean number active takes the place of k: 0.9 of them, rounded up, times 10 tokens over 2 experts.
TEST(BernoulliRouterTest, SlotsFollowTheMeanNumberActive) {
  RouterOptions o = options_of("bernoulli", 2, 1);
  o.activation = {0.2, 0.7};
  o.capacity_factor = 1.0;
  o.eval_capacity_factor = 0.5;
  o.min_capacity = 0;
  ParameterList none;
  const auto router = make_router<double>(o, 1, 2, none, "");
  EXPECT_EQ(router->capacity_rule(true, 10).capacity, 5) << "ceil(0.9 * 10 / 2)";
  EXPECT_EQ(router->capacity_rule(false, 10).capacity, 3) << "ceil(0.5 * 0.9 * 10 / 2)";
  o.activation.clear();  // 1/2 each: one
  EXPECT_EQ(make_router<double>(o, 1, 2, none, "")->capacity_rule(true, 10).capacity, 5);
}

TEST(RuleRouterTest, ATokenThatNoRuleFitsIsRefusedByItsNumber) {
  RouterOptions o = options_of("rule", 4, 1);
  o.rules = "token 0-9 -> 1; domain 3 -> 2";
  EXPECT_EQ(experts_of(o, {2, 0, 0, 0, true, {3, 9}}), (IndexRows{{1}, {1}}));
  ParameterList none;
  const auto router = make_router<double>(o, 1, 2, none, "");
  const Matrix<double> x(2, 2);
  const std::vector<std::int32_t> ids{3, 65};
  const auto refusal = [&](std::span<const std::int32_t> domains) {
    try {
      const auto tape = router->make_tape();
      router->route({}, {x.view(), ids, domains, {}, TokenId{0}}, *tape);
    } catch (const InputError& error) {
      EXPECT_NE(error.hint().find("default -> EXPERTS"), std::string::npos) << error.hint();
      return std::string(error.what());
    }
    return std::string("routed");
  };
  EXPECT_EQ(refusal({}), "no rule fits token 65 of no known domain");
  EXPECT_EQ(refusal(std::vector<std::int32_t>{3, 1}), "no rule fits token 65 in domain 1");
  EXPECT_EQ(refusal(std::vector<std::int32_t>{1, 3}), "routed");
}

}  // namespace
}  // namespace conclave::gating
