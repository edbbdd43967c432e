// SPDX-License-Identifier: BSD-3-Clause
// The distributed layer against its definition: plain loops in double in one process, central differences, and the same
// bits as one rank computes.
#include "runtime/model/moe_layer.hpp"

#include "runtime/model/step_capacity.hpp"
#include "tests/model/moe_run.hpp"
#include "tests/support/mpi_world.hpp"

#include <gtest/gtest.h>

namespace conclave::model {
namespace {

using experts::ExpertKind;
using experts::ExpertShape;
using test::MoeCase;
using test::MoeRun;
using test::world;

constexpr Index width = 6;

gating::RouterOptions router(Index experts, Index top_k, double capacity_factor) {
  gating::RouterOptions o;
  o.experts = experts;
  o.top_k = top_k;
  o.capacity_factor = capacity_factor;
  o.min_capacity = 0;
  o.c_balance = 0.5;
  o.c_z = 0.1;
  o.c_importance = 0.3;
  return o;
}

/// Experts of the given kinds with hidden widths 4, 5, 6, ...
std::vector<ExpertShape> shapes(const std::vector<ExpertKind>& kinds, bool bias) {
  std::vector<ExpertShape> result;
  for (const ExpertKind kind : kinds) result.push_back({kind, width, 4 + static_cast<Index>(result.size()), bias});
  return result;
}

MoeCase mixed_kinds() {
  const auto kinds = {ExpertKind::linear, ExpertKind::relu, ExpertKind::gelu, ExpertKind::swiglu, ExpertKind::gelu};
  return {"mixed_kinds", {width, router(5, 2, 0.0), shapes(kinds, true), {}, 1.0}};
}

// Too few slots, and all of one token's choices may be lost.
MoeCase scarce() {
  return {"scarce", {width, router(2, 1, 0.5), shapes({ExpertKind::swiglu, ExpertKind::relu}, false), {}, 1.0}, 4, 7};
}

MoeCase shared_experts() {
  MoeCase c{"shared_experts", {width, router(4, 2, 1.0), {}, {}, 1.0}, 3, 8};
  c.shape.experts = shapes({ExpertKind::gelu, ExpertKind::gelu, ExpertKind::swiglu, ExpertKind::gelu}, false);
  c.shape.shared = shapes({ExpertKind::swiglu, ExpertKind::gelu}, true);
  c.shape.router.scorer = gating::Scorer::sigmoid;
  c.shape.router.router_bias = true;
  c.shape.router.balance_scope = gating::BalanceScope::step;
  c.shape.router.normalise = gating::Normalise::kept;
  c.shape.router.priority = gating::Priority::probability;
  return c;
}

// Everything that draws random numbers, by the token's number in the step; and re-routing.
MoeCase random_router() {
  MoeCase c{"random_router", {width, router(3, 2, 0.9), {}, {}, 1.0}, 5, 6};
  c.shape.experts = shapes({ExpertKind::linear, ExpertKind::swiglu, ExpertKind::gelu}, true);
  c.shape.shared = shapes({ExpertKind::linear}, false);
  c.shape.router.jitter = 0.2;
  c.shape.router.noise = true;
  c.shape.router.second_policy = gating::SecondPolicy::random;
  c.shape.router.overflow = gating::Overflow::reroute;
  c.shape.router.selection_bias = true;
  c.shape.router.normalise = gating::Normalise::none;
  c.shape.router.gate_scale = 1.5;
  return c;
}

MoeCase one_group() {
  MoeCase c{"one_group", {width, router(3, 3, 0.0), {}, {}, 1.0}, 1, 10};
  c.shape.experts = shapes({ExpertKind::relu, ExpertKind::gelu, ExpertKind::gelu}, false);
  return c;
}

// All tokens want the same expert: the other ranks' experts have nothing to do.
MoeCase lone_expert() {
  MoeCase c{"lone_expert", {width, router(1, 1, 0.0), shapes({ExpertKind::swiglu}, true), {}, 1.0}, 5, 3};
  c.shape.router.scorer = gating::Scorer::sigmoid;
  c.shape.router.normalise = gating::Normalise::none;
  c.shape.router.c_importance = 0.0;
  return c;
}

// Experts that share a base, and an expert of every token beside them.
MoeCase base_and_delta() {
  MoeCase c{"base_and_delta", {width, router(5, 2, 0.0), {}, {}, 1.0}, 5, 6};
  c.shape.experts = std::vector<ExpertShape>(5, {ExpertKind::swiglu, width, 5, true, 2});
  c.shape.shared = shapes({ExpertKind::gelu}, false);
  return c;
}

MoeCase linear_deltas() {
  MoeCase c{"linear_deltas", {width, router(3, 1, 0.7), {}, {}, 1.0}, 4, 7};
  c.shape.experts = std::vector<ExpertShape>(3, {ExpertKind::linear, width, 0, false, 1});
  c.shape.router.normalise = gating::Normalise::none;
  return c;
}

// Some tokens lose one choice, some all.
MoeCase fused(Fusion fusion) {
  MoeCase c = scarce();
  c.name = fmt::format("fused_by_{}", name_of(fusion));
  c.shape.router = router(4, 3, 0.6);
  c.shape.experts = shapes({ExpertKind::gelu, ExpertKind::linear, ExpertKind::swiglu, ExpertKind::gelu}, true);
  c.shape.fusion = fusion;
  return c;
}

// Experts take their tokens; some tokens are taken by nobody. Scores from a hidden layer.
MoeCase expert_choice() {
  MoeCase c{"expert_choice", {width, router(4, 2, 0.5), {}, {}, 1.0}, 5, 6};
  c.shape.experts = shapes({ExpertKind::gelu, ExpertKind::linear, ExpertKind::swiglu, ExpertKind::gelu}, false);
  c.shape.router.router = "expert_choice";
  c.shape.router.gate = gating::GateKind::mlp;
  c.shape.router.gate_width = 5;
  c.shape.router.router_bias = true;
  return c;
}

// Groups compete for the step's slots, by cosines and at random; second choices are sampled.
MoeCase step_slots() {
  MoeCase c{"step_slots", {width, router(4, 2, 0.6), {}, {}, 1.0}, 5, 6};
  c.shape.experts = shapes({ExpertKind::gelu, ExpertKind::linear, ExpertKind::swiglu, ExpertKind::gelu}, true);
  c.shape.router.gate = gating::GateKind::cosine;
  c.shape.router.gate_width = 4;
  c.shape.router.capacity_scope = gating::CapacityScope::step;
  c.shape.router.priority = gating::Priority::random;
  c.shape.router.second_policy = gating::SecondPolicy::sampled;
  return c;
}

// Balanced choices, of which second ones may be turned down after they took a slot.
MoeCase balanced_choices() {
  MoeCase c{"balanced_choices", {width, router(3, 2, 0.8), {}, {}, 1.0}, 5, 6};
  c.shape.experts = shapes({ExpertKind::gelu, ExpertKind::linear, ExpertKind::swiglu}, true);
  c.shape.router.selection = gating::Selection::sinkhorn;
  c.shape.router.second_policy = gating::SecondPolicy::random_late;
  c.shape.router.priority = gating::Priority::best_token;
  c.shape.router.normalise = gating::Normalise::kept;
  return c;
}

// A router without scores, so one without a tensor; tokens with different numbers of choices over the step's slots.
MoeCase without_scores(const std::string& name) {
  MoeCase c{name, {width, router(4, 2, 0.8), {}, {}, 1.0}, 5, 6};
  c.shape.experts = shapes({ExpertKind::gelu, ExpertKind::linear, ExpertKind::swiglu, ExpertKind::gelu}, false);
  c.shape.router.router = name;
  c.shape.router.capacity_scope = gating::CapacityScope::step;
  if (name == "bernoulli") c.shape.router.activation = {0.7, 0.2, 0.4, 0.9};
  if (name == "rule") c.shape.router.rules = "token 0-4 -> 3,1; default -> 0,2";
  return c;
}

std::vector<MoeCase> cases() {
  return {mixed_kinds(),         scarce(),
          shared_experts(),      random_router(),
          one_group(),           lone_expert(),
          fused(Fusion::mean),   fused(Fusion::max),
          base_and_delta(),      linear_deltas(),
          expert_choice(),       step_slots(),
          balanced_choices(),    without_scores("bernoulli"),
          without_scores("rule")};
}

// Plain loops ---------------------------------------------------------------------------------------------------------

/// The tensor of this name; empty if there is none.
std::vector<double> plain_tensor(const ParameterList& list, std::span<const double> values, const std::string& name) {
  for (const ParameterEntry& entry : list.entries()) {
    const auto begin = values.begin() + entry.tensor.offset;
    if (entry.name == name) return {begin, begin + entry.tensor.size()};
  }
  return {};
}

/// W x + b; W is formed where it is a base and a delta.
std::vector<double> plain_affine(const ParameterList& list, std::span<const double> values, const std::string& prefix,
                                 char number, std::span<const double> x) {
  std::vector<double> w = plain_tensor(list, values, prefix + "w" + number);
  if (w.empty()) {
    w = plain_tensor(list, values, std::string("layer/base/w") + number);
    const std::vector<double> a = plain_tensor(list, values, prefix + "w" + number + "_a");
    const std::vector<double> b = plain_tensor(list, values, prefix + "w" + number + "_b");
    const std::size_t rank = b.size() / x.size();
    for (std::size_t i = 0; i < w.size(); ++i) {
      for (std::size_t r = 0; r < rank; ++r) w[i] += a[i / x.size() * rank + r] * b[r * x.size() + i % x.size()];
    }
  }
  EXPECT_FALSE(w.empty()) << prefix << number;
  const std::vector<double> bias = plain_tensor(list, values, prefix + "b" + number);
  std::vector<double> y(w.size() / x.size(), 0.0);
  for (std::size_t i = 0; i < y.size(); ++i) {
    for (std::size_t j = 0; j < x.size(); ++j) y[i] += w[i * x.size() + j] * x[j];
    if (!bias.empty()) y[i] += bias[i];
  }
  return y;
}

std::vector<double> plain_expert(const ExpertShape& shape, const ParameterList& list, std::span<const double> values,
                                 const std::string& prefix, std::span<const double> x) {
  std::vector<double> hidden = plain_affine(list, values, prefix, '1', x);
  if (shape.kind == ExpertKind::linear) return hidden;
  std::vector<double> gate(hidden.size(), 1.0);
  if (shape.kind == ExpertKind::swiglu) gate = plain_affine(list, values, prefix, '3', x);
  for (std::size_t i = 0; i < hidden.size(); ++i) {
    const double a = hidden[i];
    if (shape.kind == ExpertKind::relu) hidden[i] = std::max(a, 0.0);
    if (shape.kind == ExpertKind::gelu) hidden[i] = a * 0.5 * std::erfc(-a / std::sqrt(2.0));
    if (shape.kind == ExpertKind::swiglu) hidden[i] = a / (1.0 + std::exp(-a)) * gate[i];
  }
  return plain_affine(list, values, prefix, '2', hidden);
}

/// An expert's tensors and those it shares, as one list.
std::pair<ParameterList, std::vector<double>> with_base(MoeRun<double>& run, Index expert) {
  std::pair<ParameterList, std::vector<double>> both{run.layer().base(), {}};
  test::append(run.part(run.base_range()), both.second);
  test::append(run.part(run.expert_range(expert)), both.second);
  const ParameterList own = run.expert_list(expert);
  for (const ParameterEntry& entry : own.entries()) {
    both.first.add_matrix(entry.name, entry.tensor.rows, entry.tensor.cols, {});
  }
  return both;
}

struct Plain {
  std::vector<double> y;    // [tokens, width]
  Index num_kept = 0;       // choices
  Index num_kept_none = 0;  // tokens without one
};

/// One token's output by the definition of fusion, from its kept choices' gates and results.
std::vector<double> plain_fusion(Fusion fusion, const std::vector<double>& gates,
                                 const std::vector<std::vector<double>>& results) {
  std::vector<double> y(static_cast<std::size_t>(width), 0.0);
  for (std::size_t i = 0; i < y.size() && !results.empty(); ++i) {
    double sum = 0.0;
    double largest = results[0][i];
    for (std::size_t j = 0; j < results.size(); ++j) {
      sum += (fusion == Fusion::mean ? 1.0 / static_cast<double>(results.size()) : gates[j]) * results[j][i];
      largest = std::max(largest, results[j][i]);
    }
    y[i] = fusion == Fusion::max ? largest : sum;
  }
  return y;
}

/// What the router decides for each group, on one process.
std::vector<std::unique_ptr<gating::RouterTape<double>>> plain_routings(MoeRun<double>& run) {
  const MoeCase& c = run.of();
  ParameterList router_list;
  const auto router = gating::make_router<double>(c.shape.router, MoeRun<double>::seed, width, router_list, "layer/");
  const auto input = [&](Index g) {
    const Index first = g * c.group_rows;
    const auto x =
        as_matrix<const double>(run.part({first * width, (first + c.group_rows) * width}), c.group_rows, width);
    return gating::RouterInput<double>{
        x,
        run.token_ids().subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(c.group_rows)),
        {},
        run.layer().selection_bias(),
        TokenId{first},
        MoeRun<double>::layer_number,
        MoeRun<double>::step_number,
        true};
  };
  std::vector<std::unique_ptr<gating::RouterTape<double>>> tapes;
  for (Index g = 0; g < c.num_groups; ++g) {
    tapes.push_back(router->make_tape());
    router->choose(run.values(), input(g), *tapes.back());
    if (c.shape.router.capacity_scope == gating::CapacityScope::group) router->serve(input(g), *tapes.back());
  }
  if (c.shape.router.capacity_scope == gating::CapacityScope::step) {
    PhaseTimes times;
    const Step whole{MoeRun<double>::step_number,  true,  c.num_groups, c.num_groups, 0,
                     {c.num_groups, c.group_rows}, &times};
    serve_over_step<double>(world().split(world().rank().value()), whole, *router, tapes);
  }
  for (Index g = 0; g < c.num_groups; ++g) router->settle(input(g), *tapes[static_cast<std::size_t>(g)]);
  return tapes;
}

/// The whole layer on one process. The router is asked for its routings; the rest is the definition.
Plain plain_layer(MoeRun<double>& run) {
  const MoeCase& c = run.of();
  const auto values = run.part({run.num_x(), run.num_x() + run.replicated().size()});
  const auto tapes = plain_routings(run);
  Plain plain;
  for (Index token = 0; token < c.num_tokens(); ++token) {
    const auto x = run.part({token * width, (token + 1) * width});
    const auto kept_choices =
        tapes[static_cast<std::size_t>(token / c.group_rows)]->routing.kept_of(token % c.group_rows);
    std::vector<double> gates;
    std::vector<std::vector<double>> of_experts;
    for (const auto& kept : kept_choices) {
      const auto e = static_cast<std::size_t>(kept.expert.value());
      const auto [list, own] = with_base(run, kept.expert.value());
      gates.push_back(kept.gate);
      of_experts.push_back(plain_expert(c.shape.experts[e], list, own, fmt::format("layer/expert/{:04}/", e), x));
    }
    std::vector<double> y = plain_fusion(c.shape.fusion, gates, of_experts);
    for (std::size_t s = 0; s < c.shape.shared.size(); ++s) {
      const auto f =
          plain_expert(c.shape.shared[s], run.replicated(), values, fmt::format("layer/shared/{:04}/", s), x);
      for (std::size_t i = 0; i < y.size(); ++i) y[i] += f[i];
    }
    test::append(y, plain.y);
    plain.num_kept += std::ssize(kept_choices);
    plain.num_kept_none += kept_choices.empty() ? 1 : 0;
  }
  return plain;
}

class MoeLayerTest : public testing::TestWithParam<MoeCase> {};
INSTANTIATE_TEST_SUITE_P(Each, MoeLayerTest, testing::ValuesIn(cases()),
                         [](const auto& instance) { return instance.param.name; });

TEST_P(MoeLayerTest, ForwardIsTheFusionOfKeptChoices) {
  MoeRun<double> run(GetParam(), world());
  const Plain plain = plain_layer(run);
  const std::vector<double> y = run.forward();
  ASSERT_EQ(y.size(), plain.y.size());
  double largest = 0.0;
  for (const double v : plain.y) largest = std::max(largest, std::abs(v));
  ASSERT_GT(largest, 0.5);
  ASSERT_GE(plain.num_kept, GetParam().num_tokens() / 2);
  for (std::size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], plain.y[i], 1e-13 * largest) << "element " << i;
}

TEST_P(MoeLayerTest, BackwardIsTheGradientByCentralDifferences) {
  MoeRun<double> run(GetParam(), world());
  static_cast<void>(run.forward());
  const std::vector<double> gradient = run.backward();
  const std::vector<double> point = run.point();
  ASSERT_EQ(gradient.size(), point.size());
  test::expect_gradient_at(
      test::telling_places(run.tensors(), gradient, world().size() <= 3),
      [&](std::span<const double> at) { return run.objective(at); }, point, gradient);
}

TEST(MoeLayer, ATokenWithoutAKeptChoiceGivesZero) {
  MoeRun<double> run(scarce(), world());
  const Plain plain = plain_layer(run);
  ASSERT_GT(plain.num_kept_none, 3);
  ASSERT_GT(plain.num_kept, 3);
  const std::vector<double> y = run.forward();
  Index num_zero = 0;
  for (auto row = y.begin(); row != y.end(); row += width) {
    num_zero += std::all_of(row, row + width, [](double v) { return v == 0.0; }) ? 1 : 0;
  }
  EXPECT_EQ(num_zero, plain.num_kept_none);
}

// Same bits -----------------------------------------------------------------------------------------------------------

/// Wide enough that the order of sums shows in the bits, and for several blocks of the reduction.
MoeCase widened(MoeCase c) {
  c.shape.width = 24;
  for (auto* list : {&c.shape.experts, &c.shape.shared}) {
    for (ExpertShape& shape : *list) {
      shape.width = 24;
      shape.hidden = list == &c.shape.shared ? 80 : 20 + shape.hidden;
      if (shape.delta_rank > 0) shape.delta_rank += 3;
    }
  }
  c.group_rows = 16;
  return c;
}

/// y and all gradients of one step.
template <class T>
std::vector<T> results(MoeRun<T>& run) {
  std::vector<T> all = run.forward();
  const auto s = run.statistics();
  test::append(run.backward(), all);
  test::append(std::vector<T>{static_cast<T>(s.balance), static_cast<T>(s.z), static_cast<T>(s.importance)}, all);
  return all;
}

TEST_P(MoeLayerTest, AnyNumberOfRanksAndThreadsGivesTheBitsOfOne) {
  const comm::Communicator alone = world().split(world().rank().value());
  ASSERT_EQ(alone.size(), 1);
  for (const Index num_groups : {GetParam().num_groups, Index{1}, Index{2}, Index{7}, Index{0}}) {
    SCOPED_TRACE(fmt::format("{} groups", num_groups));
    const MoeCase c = test::with_groups(widened(GetParam()), num_groups);
    MoeRun<float> reference(c, alone);
    const std::vector<float> expected = results(reference);
    if (num_groups > 0) {
      const auto zeros = std::count(expected.begin(), expected.end(), 0.0F);
      ASSERT_LT(zeros, static_cast<std::ptrdiff_t>(expected.size() / 2));
    }
    for (Index threads = 1; threads <= (num_groups > 4 ? 2 : 1); ++threads) {
      const test::Threads use(threads);
      MoeRun<float> run(c, world());
      EXPECT_TRUE(test::same_bits<float>(results(run), expected)) << threads << " threads";
    }
  }
}

TEST_P(MoeLayerTest, AnyPlacementOfTheExpertsGivesTheBitsOfOneRank) {
  const comm::Communicator alone = world().split(world().rank().value());
  const MoeCase c = widened(GetParam());
  MoeRun<float> reference(c, alone);
  const std::vector<float> expected = results(reference);
  std::vector<RankId> backwards;
  std::vector<RankId> all_on_last;
  for (Index e = 0; e < c.shape.router.experts; ++e) {
    backwards.emplace_back((world().size() * 8 - 1 - e) % world().size());
    all_on_last.emplace_back(world().size() - 1);
  }
  for (const std::vector<RankId>& owners : {backwards, all_on_last}) {
    const ExpertMap map(owners, world().size());
    if (c.shape.experts.front().delta_rank > 0 && world().size() > 1) {
      EXPECT_THROW(MoeRun<float>(c, world(), 0, map), InputError) << "a base is summed over contiguous shares";
      continue;
    }
    MoeRun<float> run(c, world(), 0, map);
    EXPECT_TRUE(test::same_bits<float>(results(run), expected));
  }
}

TEST_P(MoeLayerTest, AnyExchangeWiresAndNumberOfWavesGiveTheBitsOfOneRank) {
  const comm::Communicator alone = world().split(world().rank().value());
  MoeCase c = widened(GetParam());
  std::vector<std::vector<float>> of_wires;
  for (const model::Wire wire : {model::Wire::fp32, model::Wire::bf16}) {
    c.wire = wire;
    c.waves = 1;
    MoeRun<float> reference(c, alone);
    const std::vector<float> expected = results(reference);
    of_wires.push_back(expected);
    for (const comm::ExchangeStrategy& strategy : comm::exchange_strategies()) {
      for (const Index waves : {1, 3}) {
        SCOPED_TRACE(fmt::format("{}, {} waves, {}", strategy.name, waves, name_of(wire)));
        c.exchange = strategy.name;
        c.waves = waves;
        MoeRun<float> run(c, world());
        EXPECT_TRUE(test::same_bits<float>(results(run), expected));
      }
    }
  }
  EXPECT_FALSE(test::same_bits<float>(of_wires[0], of_wires[1])) << "bf16 rounds nothing";
}

// Where rows cross a network, those that are copies of one another cross it once, forward and backward.
TEST_P(MoeLayerTest, AnyExchangeBetweenSeveralNodesGivesTheBitsOfOneRank) {
  const comm::Communicator alone = world().split(world().rank().value());
  MoeCase c = widened(GetParam());
  MoeRun<float> reference(c, alone);
  const std::vector<float> expected = results(reference);
  for (const std::string_view strategy : {"shared", "hierarchical"}) {
    for (const Index node_ranks : {1, 2}) {
      for (const Index waves : {1, 2}) {
        SCOPED_TRACE(fmt::format("{}, {} ranks a node, {} waves", strategy, node_ranks, waves));
        c.exchange = strategy;
        c.node_ranks = node_ranks;
        c.waves = waves;
        MoeRun<float> run(c, world());
        EXPECT_TRUE(test::same_bits<float>(results(run), expected));
      }
    }
  }
}

// What one step leaves behind in buffers and tapes must not show in the next.
TEST_P(MoeLayerTest, AUsedLayerGivesTheBitsOfANewOne) {
  const MoeCase c = widened(GetParam());
  MoeRun<float> fresh(c, world(), 2);
  MoeRun<float> used(c, world(), 1);
  const std::vector<float> other = results(used);
  used.draw_inputs(2);
  const std::vector<float> again = results(used);
  EXPECT_TRUE(test::same_bits<float>(again, results(fresh)));
  EXPECT_FALSE(test::same_bits<float>(again, other));
}

TEST(MoeLayer, ExpertGradientsAddUpUntilTheyAreCleared) {
  MoeRun<double> run(mixed_kinds(), world());
  static_cast<void>(run.forward());
  const std::vector<double> once = run.backward();
  static_cast<void>(run.forward());
  const std::vector<double> twice = run.backward(true);
  double largest = 0.0;
  for (const double v : once) largest = std::max(largest, std::abs(v));
  for (std::size_t i = 0; i < once.size(); ++i) {
    const bool of_expert = static_cast<Index>(i) >= run.expert_range(0).begin;
    ASSERT_NEAR(twice[i], of_expert ? 2.0 * once[i] : once[i], 1e-14 * largest) << i;
  }
}

// A base's gradient is the sum over all experts, also if some have no rows.
TEST(MoeLayer, ExpertsWithoutRowsAddNothingToTheBase) {
  MoeCase c = base_and_delta();
  c.shape.router.selection_bias = true;
  MoeRun<double> run(c, world());
  std::ranges::fill(run.layer().selection_bias(), 0.0);
  run.layer().selection_bias()[1] = -10.0;
  run.layer().selection_bias()[4] = -10.0;
  static_cast<void>(run.forward());
  EXPECT_EQ(run.statistics().load[1] + run.statistics().load[4], 0);
  const std::vector<double> gradient = run.backward();
  const auto is_zero = [&](Range range) {
    return std::all_of(gradient.begin() + range.begin, gradient.begin() + range.end, [](double v) { return v == 0.0; });
  };
  EXPECT_TRUE(is_zero(run.expert_range(1)));
  EXPECT_FALSE(is_zero(run.expert_range(2)));
  EXPECT_FALSE(is_zero(run.base_range()));
  std::vector<Range> base;
  for (const ParameterEntry& entry : run.layer().base().entries()) {
    base.push_back({run.base_range().begin + entry.tensor.offset, run.base_range().begin + entry.tensor.range().end});
  }
  const std::vector<double> point = run.point();
  test::expect_gradient_at(
      test::telling_places(base, gradient, true), [&](std::span<const double> at) { return run.objective(at); }, point,
      gradient);
}

TEST(MoeLayer, EvaluationDrawsNothingAndHasItsOwnCapacity) {
  MoeCase c = random_router();
  c.shape.router.second_policy = gating::SecondPolicy::all;
  c.shape.router.eval_capacity_factor = 0.0;
  MoeRun<double> run(c, world());
  const std::vector<double> training = run.forward();
  run.step().training = false;
  const std::vector<double> evaluation = run.forward();
  EXPECT_EQ(run.statistics().over_capacity, 0);
  EXPECT_NE(evaluation, training);
  run.step().number += 1;
  EXPECT_EQ(run.forward(), evaluation);  // no draw depends on the step
  run.step().training = true;
  EXPECT_NE(run.forward(), training);
}

// Nor can slots be shared with groups that a pass does not show.
TEST(MoeLayer, SlotsOverTheStepRefuseAPassThatShowsAPart) {
  MoeRun<double> run(step_slots(), world());
  run.step().num_groups *= 2;
  EXPECT_THROW(static_cast<void>(run.forward()), InvariantError);
}

// The balance over a step needs all of its counts before the first gradient.
TEST(MoeLayer, ABalanceOverTheStepRefusesAPassThatShowsAPart) {
  MoeRun<double> run(shared_experts(), world());
  run.step().num_groups *= 2;
  EXPECT_THROW(static_cast<void>(run.forward()), InvariantError);
}

}  // namespace
}  // namespace conclave::model
