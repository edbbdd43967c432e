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
  };
  for (const Case& c : cases) {
    RouterOptions options;
    c.change(options);
    const Refusal r = refusal(options);
    for (const std::string& part : c.parts) EXPECT_TRUE(contains(r.message, part)) << part << " in: " << r.message;
    EXPECT_FALSE(r.hint.empty()) << r.message;
  }
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
