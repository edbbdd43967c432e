// SPDX-License-Identifier: BSD-3-Clause
// What is said about a router against what the router does.
#include "gating/explain.hpp"
#include "gating/presets.hpp"
#include "gating/router.hpp"
#include "gating/second_policy.hpp"
#include "gating/unused_options.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace conclave::gating {
namespace {

std::string paragraph(const RouterOptions& options, const std::string& title, const RoutedTokens& tokens = {48, 3}) {
  for (const Explained& part : explain(options, tokens)) {
    if (part.title == title) return part.text;
  }
  return "none";
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

RouterOptions preset(std::string_view name, Index experts = 8) {
  RouterOptions o;
  o.router_preset = name;
  o.experts = experts;
  apply_preset(o, {});
  return o;
}

std::unique_ptr<Router<double>> router_of(const RouterOptions& o, ParameterList& parameters, Index width = 6) {
  return make_router<double>(o, 5, width, parameters, "router/");
}

TEST(ExplainTest, TellsTheSlotsThatTheRouterGives) {
  for (const auto& formula : enum_names(CapacityFormula{})) {
    for (const CapacityScope scope : {CapacityScope::group, CapacityScope::step}) {
      RouterOptions o;
      o.experts = 7;
      o.capacity_formula = formula.value;
      o.capacity_scope = scope;
      o.capacity_factor = 1.3;
      o.eval_capacity_factor = 0.7;
      ParameterList parameters;
      const auto router = router_of(o, parameters);
      const Index tokens = scope == CapacityScope::group ? 48 : 144;
      const std::string text = paragraph(o, "capacity");
      const Index training = router->capacity_rule(true, tokens).capacity;
      const Index evaluation = router->capacity_rule(false, tokens).capacity;
      ASSERT_NE(training, evaluation);
      EXPECT_TRUE(contains(text, fmt::format("training: cf = 1.3, C = {},", training))) << text;
      EXPECT_TRUE(contains(text, fmt::format("evaluation: cf = 0.7, C = {},", evaluation))) << text;
      EXPECT_TRUE(contains(text, formula_of(formula.value))) << text;
      EXPECT_TRUE(contains(text, fmt::format("({})", formula.name))) << text;
    }
  }
  RouterOptions one_phase;
  one_phase.capacity_factor = 0.0;
  EXPECT_TRUE(contains(paragraph(one_phase, "capacity"), "training: no limit; evaluation: cf = 2, C = 24, 200 %"));
}

TEST(ExplainTest, TellsTheMeanChoicesOfBernoulli) {
  RouterOptions o;
  o.router = "bernoulli";
  o.experts = 4;
  o.activation = {0.5, 0.5, 0.25, 0.25};
  o.capacity_factor = 1.0;
  const std::string text = paragraph(o, "capacity");
  EXPECT_TRUE(contains(text, "C = 18, 100 % of an even load of 18")) << text;  // 1.5 * 48 / 4
}

TEST(ExplainTest, TellsWhatEachSystemDoes) {
  EXPECT_TRUE(contains(paragraph(preset("gshard"), "second"), "g2 / 0.5"));
  EXPECT_TRUE(contains(paragraph(preset("gshard"), "second"), "before it takes a slot"));
  EXPECT_TRUE(contains(paragraph(preset("fastmoe-gshard"), "second"), "after it takes a slot"));
  EXPECT_TRUE(contains(paragraph(preset("switch"), "scores"), "x (1 - 0.01 + 2 0.01 u)"));
  EXPECT_TRUE(contains(paragraph(preset("switch"), "drawn"), "jitter"));
  EXPECT_EQ(paragraph(preset("mixtral"), "drawn"), "nothing");
  EXPECT_TRUE(contains(paragraph(preset("deepseek-v3", 256), "experts"), "in 8 blocks, of which a token keeps the 4"));
  EXPECT_TRUE(contains(paragraph(preset("deepseek-v3", 256), "gates"), "2.5 p_j / (sum of p over all 8"));
  EXPECT_TRUE(contains(paragraph(preset("deepspeed"), "drawn"), "the second expert"));
  EXPECT_TRUE(contains(paragraph(preset("base-sinkhorn"), "experts"), "8 rounds of Sinkhorn"));
  EXPECT_EQ(paragraph(preset("hash-layers"), "losses"), "none");
  EXPECT_TRUE(contains(paragraph(preset("st-moe"), "losses"), "0.001 z"));
  EXPECT_TRUE(contains(paragraph(preset("expert-choice"), "note"), "sees its future"));
  for (const RouterPreset& kind : router_presets()) {
    const std::string text = paragraph(preset(kind.name), "preset");
    EXPECT_TRUE(contains(text, kind.source)) << text;
    EXPECT_TRUE(contains(text, kind.notes)) << text;
  }
}

TEST(ExplainTest, WarnsOfTop1WithNormalisedGatesOnly) {
  RouterOptions o;
  EXPECT_TRUE(router_warnings(o).empty());
  o.top_k = 1;
  ASSERT_EQ(router_warnings(o).size(), 1U);
  EXPECT_TRUE(contains(router_warnings(o).front(), "top_k = 1"));
  o.normalise = Normalise::none;
  EXPECT_TRUE(router_warnings(o).empty());
  o.normalise = Normalise::kept;
  o.router = "hash";
  EXPECT_TRUE(router_warnings(o).empty());
}

// All that a group's routing and its losses are, in training and in evaluation, as text.
std::string behaviour(const RouterOptions& o) {
  constexpr Index width = 6;
  constexpr Index num_tokens = 40;
  ParameterList parameters;
  const auto router = router_of(o, parameters, width);
  const Random random(3, RandomStream::initial, 77);
  std::vector<double> values;
  for (Index i = 0; i < parameters.size(); ++i) values.push_back(random.normal(i, 0));
  std::vector<double> x;
  for (Index i = 0; i < num_tokens * width; ++i) x.push_back(random.normal(i, 1));
  std::vector<std::int32_t> ids;
  for (Index i = 0; i < num_tokens; ++i) ids.push_back(static_cast<std::int32_t>(random.bits(i, 2) % 90));
  std::vector<double> bias;
  if (o.selection_bias) {
    for (Index e = 0; e < o.experts; ++e) bias.push_back(0.5 * random.normal(e, 3));
  }
  std::string text;
  for (const bool training : {true, false}) {
    RouterInput<double> input;
    input.x = as_matrix<const double>(x, num_tokens, width);
    input.token_ids = ids;
    input.selection_bias = bias;
    input.training = training;
    const auto tape = router->make_tape();
    router->route(ParameterView<const double>(std::span<const double>(values)), input, *tape);
    for (const auto& a : tape->routing.kept()) text += fmt::format("{} {} {};", a.token, a.expert.value(), a.gate);
    text += fmt::format("{} {} {}", tape->balance.counted, tape->balance.z_sum, tape->balance.importance);
  }
  return text;
}

// Names and another value of what a router's routing may depend on; not the coefficients, which the router is not told.
const std::vector<std::pair<std::string, std::string>> other_values = {
    {"top_k", "3"},
    {"gate", "mlp"},
    {"gate_width", "3"},
    {"scorer", "sigmoid"},
    {"router_bias", "yes"},
    {"selection", "sinkhorn"},
    {"jitter", "0.4"},
    {"noise", "yes"},
    {"normalise", "none"},
    {"gate_scale", "3"},
    {"sinkhorn_iterations", "1"},
    {"blocks", "4"},
    {"blocks_kept", "2"},
    {"second_policy", "random"},
    {"second_threshold", "0.9"},
    {"capacity_factor", "0.8"},
    {"eval_capacity_factor", "0.7"},
    {"capacity_formula", "tutel"},
    {"min_capacity", "11"},
    {"priority", "probability"},
    {"overflow", "reroute"},
    {"balance_count", "first"},
    {"selection_bias", "yes"},
    {"load_weight", "1,2,3,4,1,2,3,4"},
    {"activation", "0.1,0.2,0.3,0.1,0.2,0.3,0.1,0.9"}};

std::vector<RouterOptions> routers_to_change() {
  std::vector<RouterOptions> all;
  for (const RouterKind& kind : router_kinds()) {
    RouterOptions o;
    o.router = kind.name;
    o.min_capacity = 1;
    if (kind.name == "rule") o.rules = "class digit -> 0,1; default -> 2,3";
    all.push_back(o);
    o.capacity_factor = o.eval_capacity_factor = kind.name == "expert_choice" ? 1.0 : 0.0;
    o.capacity_formula = CapacityFormula::mesh;
    all.push_back(o);
  }
  for (const RouterPreset& kind : router_presets()) all.push_back(preset(kind.name));
  return all;
}

// An option that is said to have no effect has none, where the same change has one in other routers.
TEST(UnusedOptionsTest, ChangeNothing) {
  Index unused_seen = 0;
  Index used_seen = 0;
  for (const RouterOptions& o : routers_to_change()) {
    const std::string before = behaviour(o);
    const std::vector<UnusedOption> unused = unused_options(o);
    for (const auto& [name, text] : other_values) {
      RouterOptions changed = o;
      OptionTable table;
      describe(changed, table);
      if (table.find(name)->text() == text) continue;
      table.assign(name, text);
      try {
        validate(changed);
      } catch (const InputError&) {
        continue;
      }
      const bool is_unused = std::any_of(unused.begin(), unused.end(), [&](const auto& u) { return u.name == name; });
      const bool differs = behaviour(changed) != before;
      EXPECT_FALSE(is_unused && differs) << o.router_preset << ' ' << o.router << ' ' << name;
      unused_seen += is_unused ? 1 : 0;
      used_seen += differs ? 1 : 0;
    }
  }
  EXPECT_GT(unused_seen, 100);
  EXPECT_GT(used_seen, 100);
}

TEST(UnusedOptionsTest, AreNotThoseThatMatter) {
  const RouterOptions o;
  const std::vector<UnusedOption> unused = unused_options(o);
  const auto is_unused = [&](std::string_view name) {
    return std::any_of(unused.begin(), unused.end(), [&](const auto& u) { return u.name == name; });
  };
  for (const std::string_view name : {"top_k", "gate", "scorer", "normalise", "capacity_factor", "priority", "jitter",
                                      "second_policy", "min_capacity", "overflow", "selection_bias"}) {
    EXPECT_FALSE(is_unused(name)) << name;
  }
  for (const std::string_view name : {"gate_width", "sinkhorn_iterations", "second_threshold", "bias_rate", "rules"}) {
    EXPECT_TRUE(is_unused(name)) << name;
  }
}

// Kept with probability g / threshold: g = 0.1 is kept in half of the cases at 0.2, in a fifth at 0.5.
TEST(SecondThresholdTest, IsTheShareFromWhichTheSecondIsAlwaysAsked) {
  constexpr Index num_tokens = 4000;
  std::vector<double> scores;
  for (Index t = 0; t < num_tokens; ++t) scores.insert(scores.end(), {0.9, 0.1});
  const Random random(8, RandomStream::second, 1, 2);
  for (const double threshold : {0.05, 0.1, 0.2, 0.5, 1.0}) {
    Matrix<char> refused(num_tokens, 2);
    refuse_weak_seconds<double>(as_matrix<const double>(scores, num_tokens, 2), random, TokenId{100}, refused.view(),
                                threshold);
    Index asked = 0;
    for (Index t = 0; t < num_tokens; ++t) {
      EXPECT_EQ(refused(t, 0), 0);
      EXPECT_EQ(refused(t, 1) == 0, random.uniform(100 + t, 0) * threshold < 0.1) << t << ' ' << threshold;
      asked += refused(t, 1) == 0 ? 1 : 0;
    }
    const double share = std::min(1.0, 0.1 / threshold);
    // Five standard deviations of a binomial count.
    EXPECT_NEAR(static_cast<double>(asked), share * num_tokens, 5.0 * std::sqrt(0.25 * num_tokens)) << threshold;
  }
}

TEST(SecondThresholdTest, ReachesTheRouter) {
  const auto refused = [](double threshold) {
    RouterOptions o = preset("st-moe");
    o.capacity_factor = 0.0;
    o.second_threshold = threshold;
    ParameterList parameters;
    const auto router = router_of(o, parameters);
    const std::vector<double> values(static_cast<std::size_t>(parameters.size()), 0.0);  // even scores: g2 = 0.5
    const std::vector<double> x(600, 1.0);
    RouterInput<double> input;
    input.x = as_matrix<const double>(x, 100, 6);
    const auto tape = router->make_tape();
    router->route(ParameterView<const double>(std::span<const double>(values)), input, *tape);
    return tape->routing.counts().count(DropReason::refused_second);
  };
  EXPECT_EQ(refused(0.5), 0);
  EXPECT_GT(refused(1.0), 20);
}

}  // namespace
}  // namespace conclave::gating
