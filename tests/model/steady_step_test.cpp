// SPDX-License-Identifier: BSD-3-Clause
// A steady step allocates nothing: what grows with tokens, experts or weights is kept from step to step.
#include "tests/model/model_run.hpp"
#include "tests/model/tiny_model.hpp"
#include "tests/support/count_allocations.hpp"

#include <gtest/gtest.h>

namespace conclave::model {
namespace {

using experts::ExpertKind;
using experts::ExpertShape;
using test::Counting;
using test::MoeCase;
using test::MoeRun;
using test::thread_counts;
using test::touch_scratch;
using test::world;

TEST(SteadyStep, TheCounterCounts) {
  const Counting count;
  const std::vector<int> values(100);
  const Matrix<float> matrix(3, 4);
  EXPECT_EQ(count.allocations(), 2);
}

// Cases ---------------------------------------------------------------------------------------------------------------

constexpr Index width = 16;
constexpr Index num_experts = 8;

MoeCase layer(const std::string& name) {
  MoeCase c;
  c.name = name;
  c.num_groups = 8;
  c.group_rows = 32;
  c.shape.width = width;
  c.shape.router.experts = num_experts;
  c.shape.router.capacity_factor = 0.7;  // some tokens lose some of their choices
  c.shape.router.c_importance = 0.1;
  c.shape.experts.assign(num_experts, {ExpertKind::gelu, width, 24, true, 0});
  return c;
}

MoeCase with(const std::string& name, const std::function<void(MoeCase&)>& change) {
  MoeCase c = layer(name);
  change(c);
  return c;
}

MoeCase router(const std::string& name) {
  return with(name, [&](MoeCase& c) {
    c.shape.router.router = name;
    if (name == "bernoulli") c.shape.router.activation = {0.7, 0.2, 0.4, 0.9, 0.1, 0.3, 0.1, 0.2};
    if (name == "rule") c.shape.router.rules = "token 0-4 -> 3,1; default -> 0,2";
  });
}

MoeCase gate(gating::GateKind kind) {
  return with(fmt::format("gate_{}", name_of(kind)), [&](MoeCase& c) {
    c.shape.router.gate = kind;
    c.shape.router.router_bias = true;
    c.shape.router.jitter = 0.1;
    c.shape.router.noise = true;
  });
}

MoeCase second(gating::SecondPolicy policy) {
  return with(fmt::format("second_{}", name_of(policy)), [&](MoeCase& c) { c.shape.router.second_policy = policy; });
}

MoeCase slots(gating::CapacityScope scope, gating::Priority priority) {
  return with(fmt::format("slots_of_{}_by_{}", name_of(scope), name_of(priority)), [&](MoeCase& c) {
    c.shape.router.capacity_scope = scope;
    c.shape.router.priority = priority;
  });
}

MoeCase fused(Fusion fusion) {
  return with(fmt::format("fused_by_{}", name_of(fusion)), [&](MoeCase& c) { c.shape.fusion = fusion; });
}

std::vector<MoeCase> cases() {
  std::vector<MoeCase> all = {
      with("dropless", [](MoeCase& c) { c.shape.router.capacity_factor = 0.0; }),
      with("rerouted", [](MoeCase& c) { c.shape.router.overflow = gating::Overflow::reroute; }),
      with("selection_bias", [](MoeCase& c) { c.shape.router.selection_bias = true; }),
      with("balance_over_step", [](MoeCase& c) { c.shape.router.balance_scope = gating::BalanceScope::step; }),
      with("sinkhorn", [](MoeCase& c) { c.shape.router.selection = gating::Selection::sinkhorn; }),
      with("sigmoid_in_blocks",
           [](MoeCase& c) {
             c.shape.router.scorer = gating::Scorer::sigmoid;
             c.shape.router.blocks = 4;
             c.shape.router.blocks_kept = 2;
           }),
      with("in_waves", [](MoeCase& c) { c.waves = 2; }),
      with("fewer_groups_than_ranks", [](MoeCase& c) { c.num_groups = 2; }),
      with("fewer_experts_than_ranks",
           [](MoeCase& c) {
             c.shape.router.experts = 2;
             c.shape.experts.resize(2);
           }),
      with("shared_experts",
           [](MoeCase& c) {
             c.shape.shared.assign(2, {ExpertKind::swiglu, width, 24, true, 0});
           }),
      with("base_and_delta",
           [](MoeCase& c) {
             c.shape.experts.assign(num_experts, {ExpertKind::swiglu, width, 24, true, 2});
           }),
  };
  for (const auto& kind : enum_names(gating::GateKind{})) all.push_back(gate(kind.value));
  for (const auto& policy : enum_names(gating::SecondPolicy{})) all.push_back(second(policy.value));
  for (const auto& scope : enum_names(gating::CapacityScope{})) {
    for (const auto& priority : enum_names(gating::Priority{})) all.push_back(slots(scope.value, priority.value));
  }
  for (const gating::RouterKind& kind : gating::router_kinds()) all.push_back(router(std::string(kind.name)));
  for (const comm::ExchangeStrategy& strategy : comm::exchange_strategies()) {
    all.push_back(with(fmt::format("exchange_{}", strategy.name), [&](MoeCase& c) {
      c.exchange = strategy.name;
      c.waves = 2;
    }));
  }
  for (const Fusion fusion : {Fusion::mean, Fusion::max}) all.push_back(fused(fusion));  // vote needs a classifier
  return all;
}

// Steps ---------------------------------------------------------------------------------------------------------------

/// Forward and backward of a layer, again and again.
class Layer {
 public:
  explicit Layer(const MoeCase& c)
      : run_(c, world()),
        plan_(run_.replicated().size(), c.num_groups, world().size()),
        gradients_(plan_, world().rank()) {
    const Index first_token = run_.step().first_token(0).value();
    const Index num_tokens = run_.step().groups.total_rows();
    token_ids_ = run_.token_ids().subspan(static_cast<std::size_t>(first_token), static_cast<std::size_t>(num_tokens));
    for (Matrix<float>* m : {&x_, &dy_, &y_, &dx_}) m->resize(num_tokens, width);
    std::ranges::copy(run_.part({first_token * width, (first_token + num_tokens) * width}), x_.flat().begin());
    std::ranges::copy(x_.flat(), dy_.flat().begin());
  }
  void step() {
    MoeLayer<float>& layer = run_.layer();
    layer.forward(run_.values(), run_.step(), x_.view(), token_ids_, y_.view());
    layer.shard().clear_gradients();
    if (layer.base().size() > 0) layer.base_gradients().clear();
    layer.backward(run_.values(), run_.step(), x_.view(), token_ids_, dy_.view(), 1.0, dx_.view(), gradients_);
    gradients_.clear();
  }
  /// Of all ranks, in the last step.
  [[nodiscard]] Index num_kept() {
    Index kept = 0;
    for (Index g = 0; g < run_.step().groups.num_groups; ++g) kept += std::ssize(run_.layer().routed(g).routing.kept());
    return world().sum(kept);
  }

 private:
  MoeRun<float> run_;
  plan::ReducePlan plan_;
  GroupGradients<float> gradients_;
  std::span<const std::int32_t> token_ids_;  // [local tokens]
  Matrix<float> x_, dy_, y_, dx_;            // [local tokens, width]
};

class SteadyLayer : public testing::TestWithParam<MoeCase> {};
INSTANTIATE_TEST_SUITE_P(Layers, SteadyLayer, testing::ValuesIn(cases()),
                         [](const auto& tested) { return tested.param.name; });

TEST_P(SteadyLayer, AllocatesNothing) {
  for (const Index threads : thread_counts()) {
    const test::Threads scope(threads);
    touch_scratch();
    Layer layer(GetParam());
    for (int warm_up = 0; warm_up < 3; ++warm_up) layer.step();
    {
      const Counting count;
      layer.step();
      EXPECT_EQ(count.allocations(), 0) << threads << " threads";
    }
    EXPECT_GT(layer.num_kept(), GetParam().num_tokens() / 2);
  }
}

// Whole models --------------------------------------------------------------------------------------------------------

struct ModelCase {
  std::string name;
  ModelOptions options = tiny();
  Index features = 0;  // of a sample; 0: a text
  Index classes = 0;   // 0: a language model
};

void PrintTo(const ModelCase& c, std::ostream* out) { *out << c.name; }

std::vector<ModelCase> model_cases() {
  ModelCase language{"language_model"};
  language.options.experts.shared_experts = 1;
  ModelCase tied{"tied_head_every_second"};
  tied.options.tied_head = true;
  tied.options.moe_every = 2;
  ModelCase texts{"texts", tiny(), 0, 4};
  ModelCase features{"features", tiny(), 5, 4};
  ModelCase votes{"features_vote", tiny(), 5, 4};
  votes.options.fusion = Fusion::vote;
  return {language, tied, texts, features, votes};
}

test::StepSamples<float> samples_of(const ModelCase& c) {
  constexpr Index num_samples = 12;
  constexpr Index vocabulary = 11;
  test::StepSamples<float> s;
  s.samples_in_group = 2;
  s.tokens_in_sample = c.features > 0 ? 1 : c.options.context;
  s.shape = {c.features > 0 ? 0 : vocabulary, c.features, c.classes};
  for (Index i = 0; i < num_samples * s.tokens_in_sample; ++i) {
    s.tokens.push_back(c.features > 0 ? 0 : static_cast<std::int32_t>(5 * i * i % vocabulary));
    if (c.classes == 0) s.targets.push_back(static_cast<std::int32_t>(7 * i % vocabulary));
  }
  for (Index i = 0; i < num_samples && c.classes > 0; ++i)
    s.targets.push_back(static_cast<std::int32_t>(i % c.classes));
  if (c.classes > 0 && c.features == 0) s.lengths.assign(num_samples, static_cast<std::int32_t>(c.options.context - 1));
  s.features = test::random_values<float>(num_samples * c.features, 9);
  return s;
}

class SteadyModel : public testing::TestWithParam<ModelCase> {};
INSTANTIATE_TEST_SUITE_P(Models, SteadyModel, testing::ValuesIn(model_cases()),
                         [](const auto& tested) { return tested.param.name; });

TEST_P(SteadyModel, ForwardAndBackwardAllocateNothing) {
  for (const Index threads : thread_counts()) {
    const test::Threads scope(threads);
    touch_scratch();
    test::ModelRun<float> run(GetParam().options, samples_of(GetParam()), world());
    const plan::ReducePlan plan(run.model().replicated().size(), run.samples().num_groups(), world().size());
    GroupGradients<float> gradients(plan, world().rank());
    const Step step = run.step_of(0);
    const auto pass = [&] {
      run.model().forward_backward(step, run.samples().local(step), gradients);
      gradients.clear();
    };
    for (int warm_up = 0; warm_up < 3; ++warm_up) pass();
    const Counting count;
    pass();
    EXPECT_EQ(count.allocations(), 0) << threads << " threads";
  }
}

}  // namespace
}  // namespace conclave::model
