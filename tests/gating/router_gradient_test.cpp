// SPDX-License-Identifier: BSD-3-Clause
// The routers' backward against central differences of the reference: random cotangents of the gates and of every loss,
// over two groups, with respect to the tokens and all parameters.
#include "gating/router.hpp"
#include "runtime/core/gemm.hpp"
#include "tests/gating/router_cases.hpp"
#include "tests/support/gradient_check.hpp"

#include <gtest/gtest.h>

namespace conclave::gating {
namespace {

using namespace conclave::test;

struct Coefficients {
  double balance = 0.0;
  double z = 0.0;
  double importance = 0.0;
};

class RouterGradientTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { make_blas_single_threaded(); }
};

// What the gradient takes as fixed: a step across a border of it has no derivative.
bool same_decisions(const ReferenceRouting& a, const ReferenceRouting& b) {
  return a.choices == b.choices && a.refused == b.refused && a.serving == b.serving;
}

std::vector<ReferenceRouting> route_groups(const RouterCase& c, std::span<const double> point) {
  const auto values = point.first(c.values.size());
  const auto x = point.subspan(c.values.size());
  std::vector<ReferenceRouting> groups;
  for (Index g = 0; g < c.num_groups; ++g) groups.push_back(reference_route(reference_input(c, g, values, x)));
  return groups;
}

// The number of kept choices.
Index kept_of(const ReferenceRouting& r) {
  Index kept = 0;
  for (const IndexRow& row : r.serving) kept += std::count_if(row.begin(), row.end(), [](Index e) { return e >= 0; });
  return kept;
}

// Section 7: the mean over groups, or the same over all groups' tokens.
double balance(const RouterCase& c, const std::vector<ReferenceRouting>& groups) {
  double mean = 0.0;
  IndexRow counted(static_cast<std::size_t>(c.options.experts), 0);
  Row probability(static_cast<std::size_t>(c.options.experts), 0.0);
  for (const ReferenceRouting& r : groups) {
    const Row p = reference_probability(r);
    mean += reference_balance(r.counted, p, c.num_tokens) / static_cast<double>(c.num_groups);
    for (std::size_t e = 0; e < p.size(); ++e) {
      counted[e] += r.counted[e];
      probability[e] += p[e];
    }
  }
  if (c.options.balance_scope == BalanceScope::group) return mean;
  return reference_balance(counted, probability, c.num_groups * c.num_tokens);
}

// d_gates[g][i] weighs the i-th kept choice of group g.
double objective(const RouterCase& c, const std::vector<ReferenceRouting>& groups, const Rows& d_gates,
                 const Coefficients& k) {
  double sum = k.balance * balance(c, groups);
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const ReferenceRouting& r = groups[g];
    std::size_t next = 0;
    for (std::size_t t = 0; t < r.serving.size(); ++t) {
      for (std::size_t j = 0; j < r.serving[t].size(); ++j) {
        if (r.serving[t][j] >= 0) sum += d_gates[g][next++] * r.gates[t][j];
      }
    }
    sum += k.z * r.z_sum / static_cast<double>(c.num_groups * c.num_tokens);
    sum += k.importance * r.importance / static_cast<double>(c.num_groups);
  }
  return sum;
}

// The router's own gradient with respect to (parameters, x), added to what is there.
Row analytic_gradient(const RouterCase& c, const std::vector<ReferenceRouting>& groups, const Rows& d_gates,
                      const Coefficients& k) {
  IndexRow step_counts(static_cast<std::size_t>(c.options.experts), 0);
  for (const ReferenceRouting& r : groups) {
    for (std::size_t e = 0; e < step_counts.size(); ++e) step_counts[e] += r.counted[e];
  }
  LossCotangent losses{k.balance, k.z, k.importance, c.num_groups, {}};
  if (c.options.balance_scope == BalanceScope::step) losses.step_counts = step_counts;
  const double before = 0.5;
  Row gradient(c.values.size() + c.x.size(), before);
  const std::span<double> values = std::span(gradient).first(c.values.size());
  const MatrixView<double> dx =
      as_matrix(std::span(gradient).subspan(c.values.size()), c.num_groups * c.num_tokens, c.width);
  for (Index g = 0; g < c.num_groups; ++g) {
    const auto tape = c.router->make_tape();
    const RouterInput<double> input = input_of(c, g);
    c.router->route(ParameterView<const double>(c.values), input, *tape);
    EXPECT_EQ(tape->routing.kept().size(), d_gates[static_cast<std::size_t>(g)].size());
    c.router->backward(ParameterView<const double>(c.values), input, *tape, d_gates[static_cast<std::size_t>(g)],
                       losses, dx.row_block(g * c.num_tokens, c.num_tokens), ParameterView<double>(values));
  }
  for (double& derivative : gradient) derivative -= before;
  return gradient;
}

void expect_router_gradient(const RouterCase& c, const Coefficients& k, Index number, Index min_nonzero = -1) {
  Row point = c.values;
  point.insert(point.end(), c.x.begin(), c.x.end());
  const std::vector<ReferenceRouting> base = route_groups(c, point);
  Rows d_gates;
  for (const ReferenceRouting& r : base) {
    d_gates.push_back(random_values(kept_of(r), 1000 + number * 10 + static_cast<Index>(d_gates.size())));
  }
  Index num_changed = 0;
  const auto of_point = [&](std::span<const double> moved) {
    const std::vector<ReferenceRouting> groups = route_groups(c, moved);
    if (!std::equal(groups.begin(), groups.end(), base.begin(), same_decisions)) ++num_changed;
    return objective(c, groups, d_gates, k);
  };
  expect_gradient(of_point, point, analytic_gradient(c, base, d_gates, k), min_nonzero);
  EXPECT_EQ(num_changed, 0) << "the case lies too near to another routing to be differentiated";
}

RouterCase gradient_case(Index number) {
  Draws draw(5000 + number);
  RouterCase c;
  c.options = random_options(draw);
  c.options.router = number % 8 == 7 ? "expert_choice" : "topk";
  c.options.experts = draw.pick<Index>({4, 6});
  c.options.top_k = 1 + draw.below(3);
  c.options.blocks = draw.pick<Index>({1, 2});
  c.options.blocks_kept = c.options.top_k > 2 ? c.options.blocks : 1 + draw.below(c.options.blocks);
  c.options.load_weight.clear();
  c.options.activation.clear();
  c.options.capacity_scope = CapacityScope::group;
  c.options.capacity_factor = draw.pick({0.0, 0.5, 0.75, 1.0});
  c.options.min_capacity = draw.below(2);
  c.options.gate_width = 4;
  // Every combination of these comes round, whatever is drawn.
  c.options.scorer = number % 2 == 0 ? Scorer::softmax : Scorer::sigmoid;
  c.options.normalise = std::array{Normalise::none, Normalise::selected, Normalise::kept}[number / 2 % 3];
  c.options.overflow = number / 6 % 2 == 0 ? Overflow::drop : Overflow::reroute;
  c.options.balance_scope = number / 12 % 2 == 0 ? BalanceScope::group : BalanceScope::step;
  c.options.noise = number / 24 % 2 == 1;
  c.options.jitter = number / 48 % 2 == 0 ? 0.0 : 0.3;
  // Every fifth, so that all gates meet all of the above.
  c.options.gate =
      std::array{GateKind::linear, GateKind::mlp, GateKind::linear, GateKind::cosine, GateKind::mlp}[number % 5];
  make_possible(c.options);
  c.seed = number;
  c.width = 3 + draw.below(3);
  c.num_tokens = 6;
  c.num_groups = 2;
  c.layer = 1;
  c.step = 9;
  c.first_token = 36;
  fill_case(c, draw);
  return c;
}

TEST_F(RouterGradientTest, IsTheGradientOfGatesAndLosses) {
  Index num_dropped = 0, num_refused = 0, num_rerouted = 0;
  Index num_late = 0, num_sampled = 0, num_balanced = 0, num_unchosen = 0;
  for (Index number = 0; number < 240; ++number) {
    const RouterCase c = gradient_case(number);
    SCOPED_TRACE(fmt::format("case {}: {}", number, describe_case(c)));
    const Row k = random_values(3, 20000 + number);
    expect_router_gradient(c, {k[0], k[1], k[2]}, number);
    for (Index g = 0; g < c.num_groups; ++g) {
      const ReferenceRouting r = reference_route(reference_input(c, g, c.values, c.x));
      num_dropped += r.over_capacity;
      num_refused += r.num_refused;
      num_rerouted += r.num_rerouted;
      num_late += r.is_late ? r.num_refused : 0;
      num_unchosen += r.num_unchosen;
    }
    const bool is_topk = c.options.router == "topk";
    num_sampled += is_topk && c.options.top_k == 2 && c.options.second_policy == SecondPolicy::sampled ? 1 : 0;
    num_balanced += c.options.selection == Selection::sinkhorn ? 1 : 0;
    if (HasFailure()) return;
  }
  EXPECT_GT(num_dropped, 200);
  EXPECT_GT(num_refused, 50);
  EXPECT_GT(num_rerouted, 50);
  EXPECT_GT(num_late, 15);
  EXPECT_GT(num_sampled, 8);
  EXPECT_GT(num_balanced, 20);
  EXPECT_GT(num_unchosen, 20);
}

// One term alone, so that none can hide behind another.
TEST_F(RouterGradientTest, OfEachTermAlone) {
  for (Index number = 0; number < 24; ++number) {
    const RouterCase c = gradient_case(number);
    SCOPED_TRACE(fmt::format("case {}: {}", number, describe_case(c)));
    // Gates that are normalised to one alone, and counts that are even, have no gradient at all.
    expect_router_gradient(c, {0.0, 0.0, 0.0}, number, 0);
    expect_router_gradient(c, {1.5, 0.0, 0.0}, number, 0);
    expect_router_gradient(c, {0.0, 0.4, 0.0}, number);
    expect_router_gradient(c, {0.0, 0.0, 2.0}, number, 0);
    if (HasFailure()) return;
  }
}

// Even by construction: no balance or importance loss, so no gradient of one.
TEST_F(RouterGradientTest, OfExpertChoiceIsThatOfGatesAndZOnly) {
  for (Index number = 7; number < 80; number += 8) {
    RouterCase c = gradient_case(number);
    ASSERT_EQ(c.options.router, "expert_choice");
    SCOPED_TRACE(fmt::format("case {}: {}", number, describe_case(c)));
    Row point = c.values;
    point.insert(point.end(), c.x.begin(), c.x.end());
    const std::vector<ReferenceRouting> base = route_groups(c, point);
    const Rows d_gates = {random_values(kept_of(base[0]), 1), random_values(kept_of(base[1]), 2)};
    const Row without = analytic_gradient(c, base, d_gates, {0.0, 0.3, 0.0});
    EXPECT_EQ(analytic_gradient(c, base, d_gates, {5.0, 0.3, 5.0}), without);
    EXPECT_GT(std::count_if(without.begin(), without.end(), [](double d) { return std::abs(d) > 1e-3; }), 10);
  }
}

TEST_F(RouterGradientTest, OfAnEmptyGroupAddsNothing) {
  RouterCase c;
  Draws draw(1);
  c.options.router_bias = true;
  c.options.noise = true;
  c.options.jitter = 0.1;
  c.options.scorer = Scorer::sigmoid;
  c.width = 4;
  fill_case(c, draw);
  const auto tape = c.router->make_tape();
  const RouterInput<double> input = input_of(c);
  c.router->route(ParameterView<const double>(c.values), input, *tape);
  EXPECT_EQ(tape->routing.num_tokens(), 0);
  Row gradient(c.values.size(), 3.0);
  const IndexRow step_counts(static_cast<std::size_t>(c.options.experts), 5);  // other groups have tokens
  for (const bool over_step : {false, true}) {
    const LossCotangent losses{1.0, 1.0, 1.0, 2,
                               over_step ? std::span<const Index>(step_counts) : std::span<const Index>()};
    c.router->backward(ParameterView<const double>(c.values), input, *tape, {}, losses, {nullptr, 0, 4, 4},
                       ParameterView<double>(gradient));
  }
  EXPECT_EQ(gradient, Row(c.values.size(), 3.0));
}

}  // namespace
}  // namespace conclave::gating
