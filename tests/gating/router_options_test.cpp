// SPDX-License-Identifier: BSD-3-Clause
#include "gating/router.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

namespace conclave::gating {
namespace {

struct Refusal {
  std::string message;
  std::string hint;
};

Refusal refusal(const RouterOptions& options) {
  try {
    validate(options);
  } catch (const InputError& error) {
    return {error.what(), error.hint()};
  }
  return {"accepted", ""};
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

TEST(RouterOptionsTest, DefaultsAndBordersAreAccepted) {
  RouterOptions o;
  EXPECT_EQ(refusal(o).message, "accepted");
  o.experts = 12;
  o.top_k = 6;
  o.blocks = 4;
  o.blocks_kept = 2;  // exactly 6 experts
  o.jitter = 0.999;
  o.capacity_factor = 0.0;
  o.eval_capacity_factor = 1e300;
  o.min_capacity = 0;
  o.gate_scale = -1.0;
  o.c_balance = o.c_z = o.c_importance = o.bias_rate = 0.0;
  EXPECT_EQ(refusal(o).message, "accepted");
  o = {};
  o.experts = o.top_k = 1;
  EXPECT_EQ(refusal(o).message, "accepted");
}

TEST(RouterOptionsTest, BordersOfWhatOnlySomeRoutersHaveAreAccepted) {
  const std::vector<std::function<void(RouterOptions&)>> changes = {
      [](auto& o) { o.gate = GateKind::mlp, o.gate_width = 1; },
      [](auto& o) { o.gate = GateKind::cosine, o.gate_width = 0; },
      [](auto& o) { o.gate_width = largest_size; },
      [](auto& o) { o.experts = largest_size; },
      [](auto& o) { o.sinkhorn_iterations = 0, o.selection = Selection::sinkhorn; },
      [](auto& o) { o.second_policy = SecondPolicy::sampled, o.blocks = o.blocks_kept = 4; },
      [](auto& o) { o.load_weight = {1e-9, 1e9, 1, 1, 1, 1, 1, 1}; },
      [](auto& o) { o.activation = {1e-9, 1.0, 1, 1, 1, 1, 1, 1}; },
      [](auto& o) { o.overflow = Overflow::reroute, o.second_policy = SecondPolicy::random; },
      [](auto& o) { o.overflow = Overflow::reroute, o.second_policy = SecondPolicy::sampled; },
      [](auto& o) { o.capacity_scope = CapacityScope::step, o.selection = Selection::sinkhorn; },
      [](auto& o) { o.router = "expert_choice", o.capacity_factor = o.eval_capacity_factor = 1e-9; },
      [](auto& o) { o.router = "bernoulli", o.capacity_scope = CapacityScope::step, o.capacity_factor = 0.0; },
      [](auto& o) { o.router = "rule", o.rules = "default -> 0,7"; },
  };
  for (std::size_t i = 0; i < changes.size(); ++i) {
    RouterOptions options;
    changes[i](options);
    EXPECT_EQ(refusal(options).message, "accepted") << "change " << i;
  }
}

TEST(RouterOptionsTest, AnImpossibleValueIsRefusedByNameAndValue) {
  struct Case {
    std::function<void(RouterOptions&)> change;
    std::vector<std::string> parts;
  };
  const std::vector<Case> cases = {
      {[](auto& o) { o.experts = 0; }, {"experts = 0"}},
      {[](auto& o) { o.experts = -3; }, {"experts = -3"}},
      {[](auto& o) { o.top_k = 0; }, {"top_k = 0", "experts = 8"}},
      {[](auto& o) { o.top_k = 9; }, {"top_k = 9", "experts = 8"}},
      {[](auto& o) { o.blocks = 0; }, {"blocks = 0"}},
      {[](auto& o) { o.blocks = -2; }, {"blocks = -2"}},
      {[](auto& o) { o.blocks = 3; }, {"blocks = 3", "experts = 8"}},
      {[](auto& o) { o.blocks = 16; }, {"blocks = 16", "experts = 8"}},
      {[](auto& o) { o.blocks_kept = 0; }, {"blocks_kept = 0", "blocks = 1"}},
      {[](auto& o) { o.blocks_kept = 2; }, {"blocks_kept = 2", "blocks = 1"}},
      {[](auto& o) { o.blocks = 4, o.top_k = 3; }, {"top_k = 3", "1 kept blocks", "2 experts"}},
      {[](auto& o) { o.jitter = -0.1; }, {"jitter = -0.1"}},
      {[](auto& o) { o.jitter = 1.0; }, {"jitter = 1"}},
      {[](auto& o) { o.min_capacity = -1; }, {"min_capacity = -1"}},
      {[](auto& o) { o.gate_scale = 0.0; }, {"gate_scale = 0"}},
      {[](auto& o) { o.gate_scale = std::numeric_limits<double>::infinity(); }, {"gate_scale = inf"}},
      {[](auto& o) { o.experts = largest_size + 1; }, {fmt::format("experts = {}", largest_size + 1)}},
      {[](auto& o) { o.gate_width = -1; }, {"gate_width = -1"}},
      {[](auto& o) { o.gate_width = largest_size + 1; }, {fmt::format("gate_width = {}", largest_size + 1)}},
      {[](auto& o) { o.sinkhorn_iterations = -1; }, {"sinkhorn_iterations = -1"}},
      {[](auto& o) { o.sinkhorn_iterations = Index{1} << 62; }, {"sinkhorn_iterations = 4611686018427387904"}},
  };
  for (const Case& c : cases) {
    RouterOptions options;
    c.change(options);
    const Refusal r = refusal(options);
    for (const std::string& part : c.parts) EXPECT_TRUE(contains(r.message, part)) << part << " in: " << r.message;
    EXPECT_FALSE(r.hint.empty()) << r.message;
  }
}

// Options that are each in order, but not together. The hint says which one to change.
TEST(RouterOptionsTest, WhatCannotGoTogetherIsRefusedWithTheRemedy) {
  struct Case {
    std::function<void(RouterOptions&)> change;
    std::string message;
    std::string hint;
  };
  const std::string reroute_hint = "router = topk, selection = score, capacity_scope = group";
  const std::vector<Case> cases = {
      {[](auto& o) { o.second_policy = SecondPolicy::sampled, o.blocks = 4, o.blocks_kept = 3; },
       "second_policy = sampled with blocks_kept = 3 of 4 blocks", "keep all blocks"},
      {[](auto& o) { o.overflow = Overflow::reroute, o.router = "hash"; }, "overflow = reroute with router = hash",
       reroute_hint},
      {[](auto& o) { o.overflow = Overflow::reroute, o.selection = Selection::sinkhorn; },
       "overflow = reroute with selection = sinkhorn", reroute_hint},
      {[](auto& o) { o.overflow = Overflow::reroute, o.capacity_scope = CapacityScope::step; },
       "overflow = reroute with capacity_scope = step", reroute_hint},
      {[](auto& o) { o.overflow = Overflow::reroute, o.second_policy = SecondPolicy::random_late; },
       "overflow = reroute with second_policy = random_late", "or drop"},
      {[](auto& o) { o.selection = Selection::sinkhorn, o.router = "expert_choice"; },
       "selection = sinkhorn with router = expert_choice", "router = topk"},
      {[](auto& o) { o.selection = Selection::sinkhorn, o.selection_bias = true; },
       "selection_bias with selection = sinkhorn", "select by score"},
      {[](auto& o) { o.router = "expert_choice", o.capacity_factor = 0.0; },
       "router = expert_choice with capacity_factor = 0 and eval_capacity_factor = 2", "above 0"},
      {[](auto& o) { o.router = "expert_choice", o.eval_capacity_factor = 0.0; },
       "capacity_factor = 1.25 and eval_capacity_factor = 0", "above 0"},
      {[](auto& o) { o.router = "expert_choice", o.capacity_scope = CapacityScope::step; },
       "router = expert_choice with capacity_scope = step", "capacity_scope = group"},
      {[](auto& o) { o.router = "rule"; }, "router = rule without rules", "--rules"},
      {[](auto& o) { o.router = "rule", o.rules = "default -> 0,1\nclass digit -> 0,8"; },
       "rules, line 2: '8' is no expert", "from 0 to 7"},
      {[](auto& o) { o.rules = "default -> 0,1"; }, "rules with router = topk", "router = rule"},
  };
  for (const Case& c : cases) {
    RouterOptions options;
    c.change(options);
    const Refusal r = refusal(options);
    EXPECT_TRUE(contains(r.message, c.message)) << r.message;
    EXPECT_TRUE(contains(r.hint, c.hint)) << r.message << ": " << r.hint;
  }
}

TEST(RouterOptionsTest, AListHasOneNumberOfItsRangeForEachExpert) {
  const double infinity = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto refusal_of = [](std::vector<double> RouterOptions::*list, const std::vector<double>& values) {
    RouterOptions options;
    options.experts = 2;
    options.*list = values;
    return refusal(options);
  };
  for (const auto& [name, list] :
       {std::pair{"load_weight", &RouterOptions::load_weight}, std::pair{"activation", &RouterOptions::activation}}) {
    SCOPED_TRACE(name);
    EXPECT_EQ(refusal_of(list, {}).message, "accepted");
    EXPECT_EQ(refusal_of(list, {0.5, 1.0}).message, "accepted");
    for (const std::vector<double>& values : {std::vector<double>{0.5}, {0.5, 0.5, 0.5}}) {
      const Refusal r = refusal_of(list, values);
      EXPECT_TRUE(contains(r.message, fmt::format("{} has {} numbers for experts = 2", name, values.size())))
          << r.message;
      EXPECT_TRUE(contains(r.hint, "one for each expert")) << r.hint;
    }
    for (const double bad : {0.0, -1.0, infinity, nan}) {
      const Refusal r = refusal_of(list, {0.5, bad});
      EXPECT_TRUE(contains(r.message, fmt::format("{} has {}", name, bad))) << bad << ": " << r.message;
      EXPECT_TRUE(contains(r.hint, "above 0")) << r.hint;
    }
  }
  EXPECT_EQ(refusal_of(&RouterOptions::load_weight, {0.5, 7.0}).message, "accepted");
  const Refusal r = refusal_of(&RouterOptions::activation, {0.5, 1.0001});
  EXPECT_TRUE(contains(r.message, "activation has 1.0001")) << r.message;
  EXPECT_TRUE(contains(r.hint, "up to 1")) << r.hint;
}

TEST(RouterOptionsTest, EmptyListsAreEven) {
  RouterOptions options;
  options.experts = 4;
  EXPECT_EQ(options.load_weights(), (std::vector<double>(4, 1.0)));
  EXPECT_EQ(options.activations(), (std::vector<double>(4, 0.25)));
  options.load_weight = {1, 2, 3, 4};
  options.activation = {0.1, 0.2, 0.3, 0.4};
  EXPECT_EQ(options.load_weights(), options.load_weight);
  EXPECT_EQ(options.activations(), options.activation);
}

TEST(RouterOptionsTest, FactorsAndCoefficientsAreFiniteAndNotNegative) {
  const double infinity = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<std::pair<std::string, double RouterOptions::*>> members = {
      {"capacity_factor", &RouterOptions::capacity_factor},
      {"eval_capacity_factor", &RouterOptions::eval_capacity_factor},
      {"c_balance", &RouterOptions::c_balance},
      {"c_z", &RouterOptions::c_z},
      {"c_importance", &RouterOptions::c_importance},
      {"bias_rate", &RouterOptions::bias_rate},
      {"jitter", &RouterOptions::jitter},
  };
  for (const auto& [name, member] : members) {
    for (const double value : {-1.0, infinity, -infinity, nan}) {
      RouterOptions options;
      options.*member = value;
      const Refusal r = refusal(options);
      EXPECT_TRUE(contains(r.message, fmt::format("{} = {}", name, value)))
          << name << ", " << value << ": " << r.message;
      EXPECT_FALSE(r.hint.empty()) << r.message;
    }
  }
}

TEST(RouterOptionsTest, AnUnknownRouterListsTheValidOnes) {
  RouterOptions options;
  options.router = "topkk";
  const Refusal r = refusal(options);
  EXPECT_TRUE(contains(r.message, "'topkk'")) << r.message;
  EXPECT_TRUE(contains(r.message, "did you mean topk?")) << r.message;
  ASSERT_FALSE(router_kinds().empty());
  for (const RouterKind& kind : router_kinds()) {
    EXPECT_TRUE(contains(r.hint, kind.name)) << r.hint;
    EXPECT_EQ(find_router(kind.name).name, kind.name);
    EXPECT_TRUE(contains(router_names(), fmt::format("{} ({})", kind.name, kind.help)));
  }
  ParameterList list;
  EXPECT_THROW(static_cast<void>(make_router<float>(options, 1, 4, list, "")), InputError);
  EXPECT_THROW(static_cast<void>(make_router<double>(options, 1, 4, list, "")), InputError);
}

TEST(RouterOptionsTest, MembersAreDescribedUnderTheirNames) {
  RouterOptions o;
  OptionTable table;
  describe(o, table);
  table.assign("scorer", "sigmoid");
  table.assign("normalise", "kept");
  table.assign("second_policy", "random");
  table.assign("priority", "probability");
  table.assign("overflow", "reroute");
  table.assign("balance_scope", "step");
  table.assign("balance_count", "first");
  table.assign("capacity_factor", "0.5");
  table.assign("eval_capacity_factor", "3");
  table.assign("c_balance", "4");
  table.assign("c_z", "5");
  table.assign("c_importance", "6");
  table.assign("bias_rate", "7");
  table.assign("router", "rule");
  table.assign("gate", "cosine");
  table.assign("gate_width", "12");
  table.assign("selection", "sinkhorn");
  table.assign("sinkhorn_iterations", "3");
  table.assign("capacity_formula", "tutel");
  table.assign("capacity_scope", "step");
  table.assign("load_weight", "1,0.5");
  table.assign("activation", "0.25,1");
  table.assign("rules", "class digit -> 0,1; default -> 2,3");
  EXPECT_EQ(o.router, "rule");
  EXPECT_EQ(o.gate, GateKind::cosine);
  EXPECT_EQ(o.gate_width, 12);
  EXPECT_EQ(o.selection, Selection::sinkhorn);
  EXPECT_EQ(o.sinkhorn_iterations, 3);
  EXPECT_EQ(o.capacity_formula, CapacityFormula::tutel);
  EXPECT_EQ(o.capacity_scope, CapacityScope::step);
  EXPECT_EQ(o.load_weight, (std::vector<double>{1.0, 0.5}));
  EXPECT_EQ(o.activation, (std::vector<double>{0.25, 1.0}));
  EXPECT_EQ(o.rules, "class digit -> 0,1; default -> 2,3");
  EXPECT_EQ(o.scorer, Scorer::sigmoid);
  EXPECT_EQ(o.normalise, Normalise::kept);
  EXPECT_EQ(o.second_policy, SecondPolicy::random);
  EXPECT_EQ(o.priority, Priority::probability);
  EXPECT_EQ(o.overflow, Overflow::reroute);
  EXPECT_EQ(o.balance_scope, BalanceScope::step);
  EXPECT_EQ(o.balance_count, BalanceCount::first);
  EXPECT_EQ(
      (std::vector<double>{o.capacity_factor, o.eval_capacity_factor, o.c_balance, o.c_z, o.c_importance, o.bias_rate}),
      (std::vector<double>{0.5, 3.0, 4.0, 5.0, 6.0, 7.0}));
}

}  // namespace
}  // namespace conclave::gating
