// SPDX-License-Identifier: BSD-3-Clause
// The top-k router against the reference on random cases, and what holds for every routing.
#include "gating/topk_router.hpp"

#include "runtime/core/gemm.hpp"
#include "tests/gating/router_cases.hpp"
#include "tests/support/gradient_check.hpp"

#include <gtest/gtest.h>

namespace conclave::gating {
namespace {

using namespace conclave::test;

constexpr Index num_cases = 500;

class TopkRouterTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { make_blas_single_threaded(); }
};

std::unique_ptr<RouterTape<double>> route(const RouterCase& c, Index group = 0) {
  auto tape = c.router->make_tape();
  c.router->route(ParameterView<const double>(c.values), input_of(c, group), *tape);
  return tape;
}

// What the random cases went through, so that a change of how they are drawn cannot empty the tests.
struct Coverage {
  Index empty = 0, single = 0, dropped = 0, refused = 0, rerouted = 0, limited_blocks = 0, unlimited = 0, evaluated = 0;
  void count(const RouterCase& c, const ReferenceRouting& r) {
    empty += c.num_tokens == 0 ? 1 : 0;
    single += c.num_tokens == 1 ? 1 : 0;
    dropped += r.over_capacity > 0 ? 1 : 0;
    refused += r.num_refused > 0 ? 1 : 0;
    rerouted += r.num_rerouted > 0 ? 1 : 0;
    limited_blocks += c.options.blocks_kept < c.options.blocks ? 1 : 0;
    unlimited += c.options.capacity_factor == 0.0 ? 1 : 0;
    evaluated += c.training ? 0 : 1;
  }
  void expect_at_least(Index count) const {
    for (const Index n : {empty, single, dropped, refused, rerouted, limited_blocks, unlimited, evaluated}) {
      EXPECT_GE(n, count);
    }
  }
};

void expect_near(double value, double expected, double tolerance) {
  EXPECT_NEAR(value, expected, tolerance * std::max(1.0, std::abs(expected)));
}

template <class T>
void expect_same_routing(const Routing<T>& routing, const ReferenceRouting& r, double tolerance) {
  ASSERT_EQ(routing.num_tokens(), static_cast<Index>(r.choices.size()));
  std::size_t next = 0;
  for (std::size_t t = 0; t < r.serving.size(); ++t) {
    for (std::size_t j = 0; j < r.serving[t].size(); ++j) {
      if (r.serving[t][j] < 0) continue;
      ASSERT_LT(next, routing.kept().size());
      const Assignment<T>& a = routing.kept()[next++];
      ASSERT_EQ(a.token, static_cast<Index>(t));
      ASSERT_EQ(a.choice, static_cast<Index>(j));
      ASSERT_EQ(a.expert, ExpertId{r.serving[t][j]}) << "token " << t << ", choice " << j;
      expect_near(static_cast<double>(a.gate), r.gates[t][j], tolerance);
    }
  }
  EXPECT_EQ(next, routing.kept().size());
  EXPECT_EQ(routing.counts().load, r.load);
  EXPECT_EQ(routing.counts().count(DropReason::over_capacity), r.over_capacity);
  EXPECT_EQ(routing.counts().count(DropReason::refused_second), r.num_refused);
  EXPECT_EQ(routing.counts().dropped(), r.over_capacity + r.num_refused);
}

void expect_same_losses(const BalanceTerms& terms, const ReferenceRouting& r, double tolerance) {
  const Row probability = reference_probability(r);
  EXPECT_EQ(terms.counted, r.counted);
  ASSERT_EQ(terms.probability.size(), probability.size());
  for (std::size_t e = 0; e < probability.size(); ++e) expect_near(terms.probability[e], probability[e], tolerance);
  expect_near(terms.z_sum, r.z_sum, tolerance);
  expect_near(terms.entropy_sum, r.entropy_sum, tolerance);
  expect_near(terms.importance, r.importance, tolerance);
  const auto num_tokens = static_cast<Index>(r.choices.size());
  expect_near(balance_loss(terms.counted, terms.probability, num_tokens),
              reference_balance(r.counted, probability, num_tokens), tolerance);
}

TEST_F(TopkRouterTest, EqualsTheReferenceOnRandomCases) {
  Coverage coverage;
  for (Index number = 0; number < num_cases; ++number) {
    const RouterCase c = random_case(number);
    SCOPED_TRACE(fmt::format("case {}: {}", number, describe_case(c)));
    const ReferenceRouting expected = reference_route(reference_input(c));
    const auto tape = route(c);
    expect_same_routing(tape->routing, expected, 1e-12);
    expect_same_losses(tape->balance, expected, 1e-12);
    coverage.count(c, expected);
    if (HasFailure()) return;
  }
  coverage.expect_at_least(15);
}

// The float router is the same code; what can differ is rounding, so a few cases do.
TEST_F(TopkRouterTest, InFloatEqualsTheReferenceOnTheRoundedInput) {
  const auto rounded = [](const Row& values) { return std::vector<float>(values.begin(), values.end()); };
  Index num_kept = 0;
  for (Index number = 0; number < 60; ++number) {
    RouterCase c = random_case(number);
    SCOPED_TRACE(fmt::format("case {}: {}", number, describe_case(c)));
    const auto x = rounded(c.x);
    const auto values = rounded(c.values);
    const auto bias = rounded(c.selection_bias);
    c.x.assign(x.begin(), x.end());
    c.values.assign(values.begin(), values.end());
    c.selection_bias.assign(bias.begin(), bias.end());

    ParameterList parameters;
    const auto router = make_router<float>(c.options, c.seed, c.width, parameters, "router/");
    const auto tape = router->make_tape();
    const RouterInput<float> input{as_matrix<const float>(x, c.num_tokens, c.width),
                                   {},
                                   {},
                                   bias,
                                   TokenId{c.first_token},
                                   c.layer,
                                   c.step,
                                   c.training};
    router->route(ParameterView<const float>(values), input, *tape);
    const ReferenceRouting expected = reference_route(reference_input(c));
    expect_same_routing(tape->routing, expected, 2e-5);
    expect_same_losses(tape->balance, expected, 2e-5);
    num_kept += static_cast<Index>(tape->routing.kept().size());
    if (HasFailure()) return;
  }
  EXPECT_GT(num_kept, 500);
}

// No expert beyond its slots, every claim accounted for, and the order that DispatchPlan relies on.
TEST_F(TopkRouterTest, RoutingsKeepTheirInvariants) {
  Index num_full = 0;
  for (Index number = 0; number < num_cases; ++number) {
    const RouterCase c = random_case(number);
    SCOPED_TRACE(fmt::format("case {}: {}", number, describe_case(c)));
    const auto tape = route(c);
    const Routing<double>& routing = tape->routing;
    const double factor = c.training ? c.options.capacity_factor : c.options.eval_capacity_factor;
    const Index capacity = reference_capacity(factor, static_cast<double>(c.options.top_k), c.num_tokens,
                                              c.options.experts, c.options.min_capacity);
    IndexRow rows(static_cast<std::size_t>(c.options.experts), 0);
    for (std::size_t i = 0; i < routing.kept().size(); ++i) {
      const Assignment<double>& a = routing.kept()[i];
      ++rows[static_cast<std::size_t>(a.expert.value())];
      if (i == 0) continue;
      const Assignment<double>& before = routing.kept()[i - 1];
      EXPECT_TRUE(before.token < a.token || (before.token == a.token && before.choice < a.choice));
    }
    for (const Index n : rows) {
      EXPECT_LE(n, capacity);
      num_full += n == capacity && capacity < c.num_tokens ? 1 : 0;
    }
    Index load = 0;
    for (const Index n : routing.counts().load) load += n;
    EXPECT_EQ(load, c.num_tokens * c.options.top_k);
    EXPECT_EQ(load, static_cast<Index>(routing.kept().size()) + routing.counts().dropped());
    if (HasFailure()) return;
  }
  EXPECT_GT(num_full, 300);
}

TEST_F(TopkRouterTest, NormalisedGatesSumToTheScale) {
  Index num_selected = 0;
  Index num_partly_kept = 0;
  for (Index number = 0; number < num_cases; ++number) {
    const RouterCase c = random_case(number);
    if (c.options.normalise == Normalise::none) continue;
    SCOPED_TRACE(fmt::format("case {}: {}", number, describe_case(c)));
    const auto tape = route(c);
    for (Index t = 0; t < c.num_tokens; ++t) {
      const auto kept = tape->routing.kept_of(t);
      const bool all_kept = static_cast<Index>(kept.size()) == c.options.top_k;
      double sum = 0.0;
      for (const Assignment<double>& a : kept) sum += a.gate;
      if (c.options.normalise == Normalise::selected && all_kept) {
        EXPECT_NEAR(sum, c.options.gate_scale, 1e-14);
        ++num_selected;
      }
      if (c.options.normalise == Normalise::selected && !all_kept) {
        EXPECT_LT(std::abs(sum), std::abs(c.options.gate_scale));
      }
      if (c.options.normalise == Normalise::kept && !kept.empty()) {
        EXPECT_NEAR(sum, c.options.gate_scale, 1e-14);
        num_partly_kept += all_kept ? 0 : 1;
      }
    }
    if (HasFailure()) return;
  }
  EXPECT_GT(num_selected, 200);
  EXPECT_GT(num_partly_kept, 50);
}

TEST_F(TopkRouterTest, EqualScoresGoToTheLowerExpertsOfTheLowerBlocks) {
  Draws draw(1);
  RouterCase c;
  c.options.experts = 12;
  c.options.top_k = 4;
  c.options.blocks = 4;
  c.options.blocks_kept = 2;
  c.options.capacity_factor = 0.5;  // ceil(0.5 * 4 * 6 / 12) = 1 slot
  c.options.min_capacity = 0;
  c.width = 3;
  c.num_tokens = 6;
  for (const Priority priority : {Priority::position, Priority::probability}) {
    RouterCase tied;
    tied.options = c.options;
    tied.options.priority = priority;
    tied.width = c.width;
    tied.num_tokens = c.num_tokens;
    fill_case(tied, draw);
    tied.x.assign(tied.x.size(), 0.0);
    const auto tape = route(tied);
    // All want experts 0 to 3; the first token is served first, under either priority.
    EXPECT_EQ(tape->routing.counts().load, (IndexRow{6, 6, 6, 6, 0, 0, 0, 0, 0, 0, 0, 0}));
    EXPECT_EQ(tape->routing.counts().count(DropReason::over_capacity), 20);
    const std::vector<Assignment<double>> expected = {
        {0, ExpertId{0}, 0, 0.25}, {0, ExpertId{1}, 1, 0.25}, {0, ExpertId{2}, 2, 0.25}, {0, ExpertId{3}, 3, 0.25}};
    EXPECT_EQ(tape->routing.kept(), expected);
  }
}

// Whether a tape is new, or has seen larger and smaller groups before, is nowhere to be seen.
TEST_F(TopkRouterTest, AUsedTapeGivesTheSameBits) {
  Index num_compared = 0;
  for (Index number = 0; number < 100; ++number) {
    RouterCase c = random_case(number);
    if (c.num_tokens == 0) continue;
    SCOPED_TRACE(fmt::format("case {}: {}", number, describe_case(c)));
    const auto view = ParameterView<const double>(c.values);
    const auto fresh = route(c);
    const auto used = c.router->make_tape();
    const RouterInput<double> input = input_of(c);
    RouterInput<double> other = input;
    const Row larger = random_values((c.num_tokens + 7) * c.width, number, 3.0);
    other.x = as_matrix<const double>(larger, c.num_tokens + 7, c.width);
    c.router->route(view, other, *used);
    other.x = input.x.row_block(0, c.num_tokens / 2);
    other.training = !c.training;
    c.router->route(view, other, *used);
    c.router->route(view, input, *used);

    EXPECT_EQ(fresh->routing.kept(), used->routing.kept());
    EXPECT_EQ(fresh->routing.counts().load, used->routing.counts().load);
    EXPECT_EQ(fresh->routing.counts().dropped(), used->routing.counts().dropped());
    EXPECT_EQ(fresh->balance.counted, used->balance.counted);
    EXPECT_EQ(fresh->balance.probability, used->balance.probability);
    EXPECT_EQ(fresh->balance.z_sum, used->balance.z_sum);
    EXPECT_EQ(fresh->balance.importance, used->balance.importance);
    EXPECT_EQ(fresh->balance.entropy_sum, used->balance.entropy_sum);

    const Row d_gates = random_values(static_cast<Index>(fresh->routing.kept().size()), number);
    const LossCotangent losses{0.5, 0.25, 0.125, 1, {}};
    Row gradients[2] = {Row(c.values.size()), Row(c.values.size())};
    Row dx[2] = {Row(c.x.size()), Row(c.x.size())};
    for (int i = 0; i < 2; ++i) {
      c.router->backward(view, input, i == 0 ? *fresh : *used, d_gates, losses,
                         as_matrix(std::span(dx[i]), c.num_tokens, c.width), ParameterView<double>(gradients[i]));
    }
    EXPECT_TRUE(same_bits<double>(gradients[0], gradients[1]));
    EXPECT_TRUE(same_bits<double>(dx[0], dx[1]));
    num_compared += static_cast<Index>(d_gates.size());
    if (HasFailure()) return;
  }
  EXPECT_GT(num_compared, 500);
}

// The message of the InputError that routing the case raises.
std::string refusal(const RouterCase& c) {
  try {
    static_cast<void>(route(c));
  } catch (const InputError& error) {
    EXPECT_FALSE(error.hint().empty());
    return error.what();
  }
  return "routed";
}

TEST_F(TopkRouterTest, LogitsThatAreNotFiniteNameStepLayerAndToken) {
  const double infinity = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const Scorer scorer : {Scorer::softmax, Scorer::sigmoid}) {
    Draws draw(3);
    RouterCase c;
    c.options.experts = 11;
    c.options.scorer = scorer;
    c.options.router_bias = true;
    c.width = 4;
    c.num_tokens = 6;
    c.layer = 3;
    c.step = 17;
    c.first_token = 100;
    fill_case(c, draw);
    EXPECT_EQ(refusal(c), "routed");
    for (const double bad : {infinity, -infinity, nan}) {
      const Row x = c.x;
      c.x[4 * 4 + 2] = bad;  // token 4, feature 2
      const std::string message = refusal(c);
      c.x = x;
      EXPECT_NE(message.find("step 17"), std::string::npos) << message;
      EXPECT_NE(message.find("layer 3"), std::string::npos) << message;
      EXPECT_NE(message.find("token 104"), std::string::npos) << message;
      for (Index e = 0; e < c.options.experts; ++e) {  // one expert's logit, at every place of a vector
        double& bias = c.values[static_cast<std::size_t>(c.parameters.entries()[1].tensor.offset + e)];
        const double good = bias;
        bias = bad;
        EXPECT_NE(refusal(c).find("token 100"), std::string::npos) << "bias " << bad << " of expert " << e;
        bias = good;
      }
    }
  }
}

TEST_F(TopkRouterTest, RegistersTheParametersThatItHas) {
  const auto names = [](bool bias, bool noise) {
    RouterOptions options;
    options.router_bias = bias;
    options.noise = noise;
    ParameterList list;
    static_cast<void>(make_router<double>(options, 1, 5, list, "a/"));
    std::string text;
    for (const ParameterEntry& entry : list.entries()) text += fmt::format("{} {}; ", entry.name, entry.tensor.size());
    return text;
  };
  EXPECT_EQ(names(false, false), "a/router_weight 40; ");
  EXPECT_EQ(names(true, true), "a/router_weight 40; a/router_bias 8; a/noise_weight 40; ");
}

}  // namespace
}  // namespace conclave::gating
