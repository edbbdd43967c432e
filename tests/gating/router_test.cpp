// SPDX-License-Identifier: BSD-3-Clause
// Every router against the reference on random cases, and what holds for every routing.
#include "gating/router.hpp"

#include "runtime/core/gemm.hpp"
#include "tests/gating/router_cases.hpp"
#include "tests/support/gradient_check.hpp"

#include <gtest/gtest.h>

#include <map>

namespace conclave::gating {
namespace {

using namespace conclave::test;

constexpr Index num_cases = 3000;

class RouterTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { make_blas_single_threaded(); }
};

std::unique_ptr<RouterTape<double>> route(const RouterCase& c, Index group = 0) {
  auto tape = c.router->make_tape();
  c.router->route(ParameterView<const double>(c.values), input_of(c, group), *tape);
  return tape;
}

// What the random cases went through, so that a change of how they are drawn cannot empty the tests: each member of
// each family, counted where it made a difference.
class Coverage {
 public:
  void count(const RouterCase& c, const ReferenceRouting& r) {
    const RouterOptions& o = c.options;
    add("tokens", c.num_tokens < 2 ? fmt::format("{}", c.num_tokens) : "more");
    add("training", c.training ? "yes" : "no");
    if (c.num_tokens < 2) return;
    add("router", o.router);
    if (r.num_unserved > 0) add("unserved", o.router);
    if (r.capacity < c.num_tokens && r.capacity != o.min_capacity) add("capacity_formula", name_of(o.capacity_formula));
    if (!reference_has_scores(o)) return;
    add("gate", name_of(o.gate));
    add("scorer", name_of(o.scorer));
    if (o.router != "topk") return;
    add("selection", name_of(o.selection));
    add("normalise", name_of(o.normalise));
    add("balance_count", name_of(o.balance_count));
    if (r.over_capacity > 0) add("priority", name_of(o.priority));
    if (r.over_capacity > 0 && o.overflow == Overflow::drop) add("overflow", "drop");
    if (r.num_rerouted > 0) add("overflow", "reroute");
    if (o.blocks_kept < o.blocks) add("blocks", "limited");
    if (o.top_k != 2 || !c.training) return;
    const bool is_at_random = o.second_policy == SecondPolicy::random || o.second_policy == SecondPolicy::random_late;
    if (!is_at_random || r.num_refused > 0) add("second_policy", name_of(o.second_policy));
  }
  /// At least `least` of every value of the enumeration.
  template <class E>
  void expect_all(const std::string& option, Index least) const {
    for (const auto& [value, name] : enum_names(E{})) expect(option, name, least);
  }
  void expect(const std::string& option, std::string_view value, Index least) const {
    const auto found = counts_.find(fmt::format("{}={}", option, value));
    EXPECT_GE(found == counts_.end() ? 0 : found->second, least) << option << "=" << value;
  }

 private:
  void add(const std::string& option, std::string_view value) { ++counts_[fmt::format("{}={}", option, value)]; }
  std::map<std::string, Index> counts_;
};

// Rounding of a cosine gate's logits grows with its temperature.
double tolerance_of(const RouterCase& c, double tolerance) {
  return c.options.gate == GateKind::cosine ? 100.0 * tolerance : tolerance;
}

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
  std::vector<ReferenceDrop> ledger;
  for (const Drop& d : routing.counts().drops) {
    ledger.emplace_back(d.token, d.choice, d.expert.value(), std::string(name_of(d.reason)));
  }
  EXPECT_EQ(ledger, r.ledger);
  EXPECT_EQ(routing.counts().count(DropReason::over_capacity), r.over_capacity);
  EXPECT_EQ(routing.counts().count(DropReason::refused_second), r.num_refused);
  EXPECT_EQ(routing.counts().count(DropReason::unchosen), r.num_unchosen);
  EXPECT_EQ(routing.counts().dropped(), r.over_capacity + r.num_refused);
  EXPECT_EQ(routing.counts().rerouted, r.num_rerouted);
  EXPECT_EQ(routing.num_unserved(), r.num_unserved);
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

TEST_F(RouterTest, EqualsTheReferenceOnRandomCases) {
  Coverage coverage;
  for (Index number = 0; number < num_cases; ++number) {
    const RouterCase c = random_case(number);
    SCOPED_TRACE(fmt::format("case {}: {}", number, describe_case(c)));
    const ReferenceRouting expected = reference_route(reference_input(c));
    const auto tape = route(c);
    expect_same_routing(tape->routing, expected, tolerance_of(c, 1e-12));
    expect_same_losses(tape->balance, expected, tolerance_of(c, 1e-12));
    coverage.count(c, expected);
    if (HasFailure()) return;
  }
  for (const RouterKind& kind : router_kinds()) {
    coverage.expect("router", kind.name, 30);
    // A token drops out where its expert is full, which is rare for the even routers, or where no expert takes it.
    coverage.expect("unserved", kind.name, kind.name == "round_robin" || kind.name == "least_loaded" ? 3 : 8);
  }
  coverage.expect_all<CapacityFormula>("capacity_formula", 15);
  coverage.expect_all<GateKind>("gate", 50);
  coverage.expect_all<Scorer>("scorer", 50);
  coverage.expect_all<Selection>("selection", 50);
  coverage.expect_all<Normalise>("normalise", 50);
  coverage.expect_all<BalanceCount>("balance_count", 50);
  coverage.expect_all<Priority>("priority", 30);
  coverage.expect_all<Overflow>("overflow", 30);
  coverage.expect_all<SecondPolicy>("second_policy", 15);
  coverage.expect("blocks", "limited", 30);
  for (const auto* tokens : {"0", "1", "more"}) coverage.expect("tokens", tokens, 50);
  for (const auto* training : {"yes", "no"}) coverage.expect("training", training, 100);
}

// The float router is the same code; what can differ is rounding, so a few cases do.
TEST_F(RouterTest, InFloatEqualsTheReferenceOnTheRoundedInput) {
  const auto rounded = [](const Row& values) { return std::vector<float>(values.begin(), values.end()); };
  Index num_kept = 0;
  for (Index number = 0; number < 150; ++number) {
    RouterCase c = random_case(number);
    SCOPED_TRACE(fmt::format("case {}: {}", number, describe_case(c)));
    cool(c);
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
                                   c.token_ids,
                                   c.domains,
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
  EXPECT_GT(num_kept, 1500);
}

// No expert beyond its slots, every claim accounted for, and the order that DispatchPlan relies on.
TEST_F(RouterTest, RoutingsKeepTheirInvariants) {
  Index num_full = 0;
  for (Index number = 0; number < num_cases; ++number) {
    const RouterCase c = random_case(number);
    SCOPED_TRACE(fmt::format("case {}: {}", number, describe_case(c)));
    const auto tape = route(c);
    const Routing<double>& routing = tape->routing;
    const Index capacity = reference_slots(c.options, c.training, c.num_tokens);
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
    if (c.options.router != "expert_choice" && c.options.router != "bernoulli") {
      EXPECT_EQ(load, c.num_tokens * c.options.top_k);
    }
    EXPECT_EQ(load, static_cast<Index>(routing.kept().size()) + routing.counts().dropped());
    if (HasFailure()) return;
  }
  EXPECT_GT(num_full, 300);
}

TEST_F(RouterTest, NormalisedGatesSumToTheScale) {
  Index num_selected = 0;
  Index num_less = 0;
  Index num_partly_kept = 0;
  for (Index number = 0; number < num_cases; ++number) {
    RouterCase c = random_case(number);
    cool(c);
    if (c.options.normalise == Normalise::none || c.options.router != "topk") continue;
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
        EXPECT_LE(std::abs(sum), std::abs(c.options.gate_scale) * (1.0 + 1e-14));
        num_less += std::abs(sum) < 0.99 * std::abs(c.options.gate_scale) ? 1 : 0;
      }
      if (c.options.normalise == Normalise::kept && !kept.empty()) {
        EXPECT_NEAR(sum, c.options.gate_scale, 1e-14);
        num_partly_kept += all_kept ? 0 : 1;
      }
    }
    if (HasFailure()) return;
  }
  EXPECT_GT(num_selected, 200);
  EXPECT_GT(num_less, 200);
  EXPECT_GT(num_partly_kept, 50);
}

// Whether a tape is new, or has seen larger and smaller groups before, is nowhere to be seen.
TEST_F(RouterTest, AUsedTapeGivesTheSameBits) {
  Index num_compared = 0;
  for (Index number = 0; number < 300; ++number) {
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
    const std::vector<std::int32_t> ids(static_cast<std::size_t>(c.num_tokens) + 7, 65);
    other.token_ids = ids;
    other.domains = {};
    c.router->route(view, other, *used);
    other.x = input.x.row_block(0, c.num_tokens / 2);
    other.training = !c.training;
    other.token_ids = input.token_ids.first(static_cast<std::size_t>(other.x.rows));
    if (!input.domains.empty()) other.domains = input.domains.first(static_cast<std::size_t>(other.x.rows));
    c.router->route(view, other, *used);
    c.router->route(view, input, *used);

    EXPECT_EQ(fresh->routing.kept(), used->routing.kept());
    EXPECT_EQ(fresh->routing.counts().load, used->routing.counts().load);
    EXPECT_EQ(fresh->routing.counts().drops, used->routing.counts().drops);
    EXPECT_EQ(fresh->routing.counts().rerouted, used->routing.counts().rerouted);
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
  EXPECT_GT(num_compared, 1500);
}

}  // namespace
}  // namespace conclave::gating
