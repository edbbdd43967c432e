// SPDX-License-Identifier: BSD-3-Clause
// Classifiers on several ranks: their gradients against central differences, the bits of one rank, and the classic
// mixture of experts by plain loops.
#include "runtime/model/classifier.hpp"

#include "tests/model/model_run.hpp"
#include "tests/model/tiny_model.hpp"
#include "tests/support/mpi_world.hpp"

#include <gtest/gtest.h>

#include <set>

namespace conclave::model {
namespace {

using test::ModelRun;
using test::random_values;
using test::StepSamples;
using test::world;

constexpr Index vocabulary = 11;
constexpr Index classes = 4;
constexpr Index samples_in_group = 3;

struct ClassifierCase {
  std::string name;
  ModelOptions options;
  Index features = 0;  // 0: texts
};

void PrintTo(const ClassifierCase& c, std::ostream* out) { *out << c.name; }

ModelOptions tiny_with_shared_expert() {
  ModelOptions o = tiny();
  o.experts.shared_experts = 1;
  o.experts.shared_hidden = 7;
  return o;
}

// y = sum_e softmax(W x)_e f_e(x), and a head.
ModelOptions classic() {
  ModelOptions o = tiny_with_shared_expert();
  o.layers = 1;
  o.input_map = false;
  o.residual = false;
  o.router.top_k = o.router.experts;
  o.router.capacity_factor = 0.0;
  o.router.normalise = gating::Normalise::none;
  o.router.c_balance = o.router.c_z = o.router.c_importance = 0.0;
  o.experts = {{"linear", "relu", "gelu"}, {6}, true, 0, 1};
  return o;
}

ClassifierCase voting(ClassifierCase c) {
  c.name += "_vote";
  c.options.fusion = Fusion::vote;
  return c;
}

std::vector<ClassifierCase> cases() {
  const ClassifierCase texts{"texts", tiny_with_shared_expert()};
  ClassifierCase features{"features", tiny_with_shared_expert(), 5};
  features.options.moe_every = 2;
  const ClassifierCase dense_mixture{"classic", classic(), 8};
  return {texts, features, dense_mixture, voting(texts), voting(features), voting(dense_mixture)};
}

template <class T>
StepSamples<T> step_samples(const ClassifierCase& c, Index num_groups) {
  StepSamples<T> s;
  s.samples_in_group = samples_in_group;
  s.tokens_in_sample = c.features > 0 ? 1 : c.options.context;
  s.shape = {c.features > 0 ? 0 : vocabulary, c.features, classes};
  const Random random(5, RandomStream::initial, 1);
  const Index num_samples = num_groups * samples_in_group;
  for (Index i = 0; i < num_samples; ++i) {
    s.targets.push_back(static_cast<std::int32_t>(random.bits(i, 0) % classes));
    if (c.features == 0) s.lengths.push_back(static_cast<std::int32_t>(1 + random.bits(i, 1) % c.options.context));
    for (Index t = 0; t < s.tokens_in_sample; ++t) {
      s.tokens.push_back(c.features > 0 ? 0 : static_cast<std::int32_t>(random.bits(i, 2 + t) % vocabulary));
    }
  }
  s.features = random_values<T>(num_samples * c.features, 9);
  return s;
}

class ClassifierTest : public testing::TestWithParam<ClassifierCase> {};
INSTANTIATE_TEST_SUITE_P(Each, ClassifierTest, testing::ValuesIn(cases()),
                         [](const auto& instance) { return instance.param.name; });

TEST_P(ClassifierTest, BackwardIsTheGradientByCentralDifferences) {
  ModelRun<double> run(GetParam().options, step_samples<double>(GetParam(), 3), world());
  run.spread_values();
  const std::vector<double> gradient = run.gradient();
  const std::vector<double> point = run.point();
  ASSERT_EQ(gradient.size(), point.size());
  ASSERT_EQ(static_cast<Index>(point.size()), run.model().num_parameters());
  test::expect_gradient_at(
      test::telling_places(run.tensors(), gradient, world().size() <= 3),
      [&](std::span<const double> at) { return run.objective(at); }, point, gradient);
}

TEST_P(ClassifierTest, AnyNumberOfRanksAndThreadsGivesTheBitsOfOne) {
  const comm::Communicator alone = world().split(world().rank().value());
  for (const Index num_groups : {1, 5}) {
    SCOPED_TRACE(fmt::format("{} groups", num_groups));
    ModelRun<float> reference(GetParam().options, step_samples<float>(GetParam(), num_groups), alone);
    reference.spread_values();
    const std::vector<float> expected = reference.gradient();
    const auto zeros = std::count(expected.begin(), expected.end(), 0.0F);
    ASSERT_LT(zeros, static_cast<std::ptrdiff_t>(expected.size() / 2));
    for (Index threads = 1; threads <= 2; ++threads) {
      const test::Threads use(threads);
      ModelRun<float> run(GetParam().options, step_samples<float>(GetParam(), num_groups), world());
      run.spread_values();
      EXPECT_TRUE(test::same_bits<float>(run.gradient(), expected)) << threads << " threads";
      EXPECT_EQ(run.group_nats(), reference.group_nats());
      EXPECT_EQ(run.predictions(), reference.predictions());
    }
  }
}

TEST_P(ClassifierTest, PassesAddUpToTheStep) {
  ModelRun<double> whole(GetParam().options, step_samples<double>(GetParam(), 4), world());
  ModelRun<double> passes(GetParam().options, step_samples<double>(GetParam(), 4), world(), 2);
  whole.spread_values();
  passes.spread_values();
  const std::vector<double> expected = whole.gradient();
  const std::vector<double> got = passes.gradient();
  ASSERT_EQ(got.size(), expected.size());
  double largest = 0.0;
  for (const double v : expected) largest = std::max(largest, std::abs(v));
  ASSERT_GT(largest, 1e-3);
  for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], expected[i], 1e-12 * largest) << "parameter " << i;
  EXPECT_NEAR(passes.mean_loss(), whole.mean_loss(), 1e-12);
  EXPECT_EQ(passes.predictions(), whole.predictions());
}

TEST_P(ClassifierTest, EvaluateGivesTheLossesAndClassesOfForwardBackward) {
  ModelRun<double> run(GetParam().options, step_samples<double>(GetParam(), 4), world());
  run.spread_values();
  static_cast<void>(run.gradient());
  const std::vector<double> trained = run.group_nats();
  const std::vector<std::int32_t> predicted = run.predictions();
  static_cast<void>(run.objective(run.point()));
  EXPECT_EQ(run.group_nats(), trained);
  EXPECT_EQ(run.predictions(), predicted);
  ASSERT_EQ(predicted.size(), static_cast<std::size_t>(4 * samples_in_group));
  EXPECT_GT(std::set<std::int32_t>(predicted.begin(), predicted.end()).size(), 1U);
}

// Without a limit on capacity no token decides about another: what fills up a text must not be seen.
TEST(Classifier, DoesNotSeeWhatIsBehindATextsEnd) {
  for (const Fusion fusion : {Fusion::weighted, Fusion::vote}) {
    ClassifierCase c{"", tiny_with_shared_expert()};
    c.options.router.capacity_factor = 0.0;
    c.options.fusion = fusion;
    const StepSamples<double> samples = step_samples<double>(c, 3);
    StepSamples<double> others = samples;
    StepSamples<double> shorter = samples;
    Index changed = 0;
    for (std::size_t i = 0; i < others.tokens.size(); ++i) {
      const auto place = static_cast<Index>(i) % c.options.context;
      const std::int32_t length = samples.lengths[i / static_cast<std::size_t>(c.options.context)];
      if (place < length) continue;
      others.tokens[i] = (others.tokens[i] + 1) % static_cast<std::int32_t>(vocabulary);
      ++changed;
    }
    ASSERT_GT(changed, 3);
    const auto losses_of = [&](const StepSamples<double>& s) {
      ModelRun<double> run(c.options, s, world());
      run.spread_values();
      static_cast<void>(run.objective(run.point()));
      return run.mean_loss();
    };
    const double loss = losses_of(samples);
    EXPECT_NEAR(losses_of(others), loss, 1e-12);
    for (std::int32_t& length : shorter.lengths) length = 1;
    EXPECT_GT(std::abs(losses_of(shorter) - loss), 1e-3);
  }
}

/// A tensor's values in the flat array of a list.
std::span<const double> named(const ParameterList& list, std::span<const double> flat, const std::string& name) {
  for (const ParameterEntry& entry : list.entries()) {
    if (entry.name.ends_with(name)) {
      return flat.subspan(static_cast<std::size_t>(entry.tensor.offset), static_cast<std::size_t>(entry.tensor.size()));
    }
  }
  throw std::runtime_error("there is no tensor " + name);
}

// W x + b, of a matrix [rows, x.size()].
std::vector<double> affine(std::span<const double> w, std::span<const double> b, std::span<const double> x) {
  std::vector<double> y;
  for (std::size_t i = 0; i < w.size() / x.size(); ++i) {
    double sum = b.empty() ? 0.0 : b[i];
    for (std::size_t j = 0; j < x.size(); ++j) sum += w[i * x.size() + j] * x[j];
    y.push_back(sum);
  }
  return y;
}

std::vector<double> softmax(std::vector<double> z) {
  const double most = *std::max_element(z.begin(), z.end());
  double sum = 0.0;
  for (double& v : z) sum += v = std::exp(v - most);
  for (double& v : z) v /= sum;
  return z;
}

// f_e(x) of a linear, relu or gelu expert.
std::vector<double> expert(const ParameterList& list, std::span<const double> flat, Index e,
                           std::span<const double> x) {
  std::vector<double> h = affine(named(list, flat, "/w1"), named(list, flat, "/b1"), x);
  if (e == 0) return h;
  for (double& v : h) v = e == 1 ? std::max(v, 0.0) : 0.5 * v * std::erfc(-v / std::sqrt(2.0));
  return affine(named(list, flat, "/w2"), named(list, flat, "/b2"), h);
}

// Jacobs, Jordan, Nowlan and Hinton 1991: every expert serves every sample, y = sum_e softmax(W x)_e f_e(x).
TEST(Classifier, WithAllExpertsAndNoCapacityIsTheClassicMixture) {
  const ClassifierCase c{"", classic(), 8};
  ModelRun<double> run(c.options, step_samples<double>(c, 3), world());
  run.spread_values();
  static_cast<void>(run.objective(run.point()));
  auto& model = dynamic_cast<Classifier<double>&>(run.model());
  const Step step = run.step_of(0);
  model.evaluate(step, run.samples().local(step));
  const std::vector<double> logits = world().gather_all(model.logits().flat());
  ASSERT_EQ(logits.size(), run.samples().targets.size() * classes);

  const std::vector<double> point = run.point();
  const ParameterList& list = model.replicated();
  const std::span<const double> replicated(point.data(), static_cast<std::size_t>(list.size()));
  const MoeLayer<double>& layer = *model.moe_layers().front();
  double nats = 0.0;
  double smallest_gate = 1.0;
  for (std::size_t s = 0; s < run.samples().targets.size(); ++s) {
    const std::span<const double> x(run.samples().features.data() + 8 * s, 8);
    const std::vector<double> g = softmax(affine(named(list, replicated, "moe/router_weight"), {}, x));
    std::vector<double> y(8, 0.0);
    std::size_t at = replicated.size();
    for (Index e = 0; e < 3; ++e) {
      const ParameterList of_expert = layer.expert_parameters(ExpertId{e});
      const auto f = expert(of_expert, std::span(point).subspan(at, static_cast<std::size_t>(of_expert.size())), e, x);
      at += static_cast<std::size_t>(of_expert.size());
      for (std::size_t i = 0; i < 8; ++i) y[i] += g[static_cast<std::size_t>(e)] * f[i];
      smallest_gate = std::min(smallest_gate, g[static_cast<std::size_t>(e)]);
    }
    const std::vector<double> z =
        affine(named(list, replicated, "head/weight"), named(list, replicated, "head/bias"), y);
    for (std::size_t k = 0; k < z.size(); ++k) ASSERT_NEAR(logits[s * classes + k], z[k], 1e-12) << "sample " << s;
    const std::vector<double> p = softmax(z);
    nats -= std::log(p[static_cast<std::size_t>(run.samples().targets[s])]);
    EXPECT_EQ(run.predictions()[s], std::max_element(z.begin(), z.end()) - z.begin());
  }
  EXPECT_NEAR(run.mean_loss(), nats / static_cast<double>(run.samples().targets.size()), 1e-12);
  EXPECT_GT(smallest_gate, 1e-4);
}

TEST(Classifier, RefusesVectorsThatDoNotFitTheWidthWithoutAMap) {
  const ClassifierCase c{"", classic(), 6};
  try {
    const ModelRun<double> run(c.options, step_samples<double>(c, 1), world());
    FAIL() << "accepted";
  } catch (const InputError& error) {
    EXPECT_EQ(std::string(error.what()), "input_map = no with 6 features and width = 8");
    EXPECT_NE(error.hint().find("--width 6"), std::string::npos);
  }
}

TEST(Classifier, RefusesOtherSamplesThanTheStepHas) {
  const ClassifierCase c{"", tiny_with_shared_expert()};
  ModelRun<float> run(c.options, step_samples<float>(c, 1), world());
  PhaseTimes times;
  const Step step{0, true, 1, 1, 0, {1, 8}, &times};
  const std::vector<std::int32_t> tokens(8, 0);
  const std::vector<std::int32_t> two(2, 1);
  const std::vector<std::int32_t> beyond(2, classes);
  const std::vector<std::int32_t> too_long{4, 5};
  EXPECT_THROW(run.model().evaluate(step, {tokens, tokens, two}), InvariantError);
  EXPECT_THROW(run.model().evaluate(step, {tokens, beyond, two}), InvariantError);
  EXPECT_THROW(run.model().evaluate(step, {tokens, two, too_long}), InvariantError);
}

}  // namespace
}  // namespace conclave::model
