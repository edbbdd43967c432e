// SPDX-License-Identifier: BSD-3-Clause
// The whole model on several ranks: its gradient against central differences, and the bits of one rank.
#include "runtime/model/language_model.hpp"

#include "tests/model/model_run.hpp"
#include "tests/model/tiny_model.hpp"
#include "tests/support/mpi_world.hpp"

#include <gtest/gtest.h>

namespace conclave::model {
namespace {

using test::world;

constexpr Index vocabulary = 11;

struct ModelCase {
  std::string name;
  ModelOptions options;
};

void PrintTo(const ModelCase& c, std::ostream* out) { *out << c.name; }

std::vector<ModelCase> cases() {
  ModelCase every{"every_block_moe", tiny()};
  every.options.experts.expert_kind = {"swiglu", "relu"};
  every.options.experts.shared_experts = 1;
  every.options.experts.shared_hidden = 7;

  ModelCase second{"every_second_tied", tiny()};
  second.options.moe_every = 2;
  second.options.tied_head = true;
  second.options.experts.expert_bias = true;
  second.options.router.balance_scope = gating::BalanceScope::step;

  ModelCase dense{"dense_tied", tiny()};
  dense.options.moe_every = 0;
  dense.options.tied_head = true;
  dense.options.dense_kind = experts::ExpertKind::swiglu;

  ModelCase random{"random_routing", tiny()};
  random.options.moe_every = 2;
  random.options.dense_kind = experts::ExpertKind::linear;
  random.options.router.jitter = 0.1;
  random.options.router.noise = true;
  random.options.router.router_bias = true;
  random.options.router.second_policy = gating::SecondPolicy::random;
  return {every, second, dense, random};
}

std::vector<std::int32_t> random_tokens(Index count, Index what) {
  std::vector<std::int32_t> tokens;
  const Random random(5, RandomStream::initial, what);
  for (Index i = 0; i < count; ++i) tokens.push_back(static_cast<std::int32_t>(random.bits(i, 0) % vocabulary));
  return tokens;
}

/// A language model and one step's tokens.
template <class T>
class LanguageRun : public test::ModelRun<T> {
 public:
  static constexpr Index sequences = 2;  // of a group

  /// Every `without`-th token has no target; 0: all have one.
  LanguageRun(const ModelOptions& options, Index num_groups, const comm::Communicator& communicator,
              Index num_passes = 1, Index without = 0)
      : test::ModelRun<T>(options, step_samples(options, num_groups, without), communicator, num_passes),
        communicator_(communicator) {}

  /// [tokens, vocabulary] for other tokens than the step's own.
  std::vector<T> logits(const std::vector<std::int32_t>& tokens) {
    const Step step = this->step_of(0);
    test::StepSamples<T> others = this->samples();
    others.tokens = tokens;
    const ConstMatrixView<T> here =
        dynamic_cast<LanguageModel<T>&>(this->model()).logits(step, others.local(step).tokens);
    return communicator_.gather_all(here.flat());
  }
  [[nodiscard]] const std::vector<std::int32_t>& tokens() const { return this->samples().tokens; }

 private:
  static test::StepSamples<T> step_samples(const ModelOptions& options, Index num_groups, Index without) {
    test::StepSamples<T> samples{{.vocabulary = vocabulary}, options.context, sequences, {}, {}, {}, {}};
    samples.tokens = random_tokens(num_groups * samples.group_rows(), 1);
    samples.targets = random_tokens(num_groups * samples.group_rows(), 2);
    for (std::size_t t = 0; without > 0 && t < samples.targets.size(); t += static_cast<std::size_t>(without)) {
      samples.targets[t] = no_target;
    }
    return samples;
  }
  const comm::Communicator& communicator_;
};

class LanguageModelTest : public testing::TestWithParam<ModelCase> {};
INSTANTIATE_TEST_SUITE_P(Each, LanguageModelTest, testing::ValuesIn(cases()),
                         [](const auto& instance) { return instance.param.name; });

TEST_P(LanguageModelTest, BackwardIsTheGradientByCentralDifferences) {
  LanguageRun<double> run(GetParam().options, 3, world());
  run.spread_values();
  const std::vector<double> gradient = run.gradient();
  const std::vector<double> point = run.point();
  ASSERT_EQ(gradient.size(), point.size());
  ASSERT_EQ(static_cast<Index>(point.size()), run.model().num_parameters());
  test::expect_gradient_at(
      test::telling_places(run.tensors(), gradient, world().size() <= 3),
      [&](std::span<const double> at) { return run.objective(at); }, point, gradient);
}

// Of 3 groups in 3 passes, so that none of them knows how many targets there are.
TEST_P(LanguageModelTest, BackwardIsTheGradientWhereTokensHaveNoTarget) {
  ModelOptions options = GetParam().options;
  options.router.balance_scope = gating::BalanceScope::group;
  LanguageRun<double> run(options, 3, world(), 3, 3);
  ASSERT_EQ(run.samples().num_targets(), 16);  // of 24
  run.spread_values();
  const std::vector<double> gradient = run.gradient();
  const std::vector<double> point = run.point();
  test::expect_gradient_at(
      test::telling_places(run.tensors(), gradient, false),
      [&](std::span<const double> at) { return run.objective(at); }, point, gradient);
}

template <class T>
void give_teacher(LanguageRun<T>& run) {
  test::StepSamples<T>& samples = run.samples();
  samples.teacher = test::random_values<T>(std::ssize(samples.tokens) * vocabulary, 77, 2.0);
  samples.mind = {{}, 0.4, 2.5};
}

TEST_P(LanguageModelTest, BackwardIsTheGradientWithATeacher) {
  LanguageRun<double> run(GetParam().options, 3, world(), 1, 3);
  run.spread_values();
  const std::vector<double> alone = run.gradient();
  const double loss = run.mean_loss();
  give_teacher(run);
  const std::vector<double> gradient = run.gradient();
  EXPECT_GT(std::abs(run.mean_loss() - loss), 1e-2);
  EXPECT_NE(gradient, alone);
  const std::vector<double> point = run.point();
  test::expect_gradient_at(
      test::telling_places(run.tensors(), gradient, false),
      [&](std::span<const double> at) { return run.objective(at); }, point, gradient);
}

TEST_P(LanguageModelTest, ATeacherGivesTheSameBitsOnAnyNumberOfRanks) {
  const comm::Communicator alone = world().split(world().rank().value());
  LanguageRun<float> reference(GetParam().options, 4, alone);
  LanguageRun<float> run(GetParam().options, 4, world());
  const std::vector<float> without = reference.gradient();
  give_teacher(reference);
  give_teacher(run);
  const std::vector<float> expected = reference.gradient();
  EXPECT_FALSE(test::same_bits<float>(expected, without));
  EXPECT_TRUE(test::same_bits<float>(run.gradient(), expected));
  EXPECT_EQ(run.group_nats(), reference.group_nats());
}

TEST_P(LanguageModelTest, AnyNumberOfRanksAndThreadsGivesTheBitsOfOne) {
  const comm::Communicator alone = world().split(world().rank().value());
  for (const Index num_groups : {1, 4, 5}) {
    SCOPED_TRACE(fmt::format("{} groups", num_groups));
    LanguageRun<float> reference(GetParam().options, num_groups, alone);
    const std::vector<float> initial = reference.point();
    const std::vector<float> expected = reference.gradient();
    const auto zeros = std::count(expected.begin(), expected.end(), 0.0F);
    ASSERT_LT(zeros, static_cast<std::ptrdiff_t>(expected.size() / 2));
    ASSERT_EQ(static_cast<Index>(reference.group_nats().size()), num_groups);
    for (Index threads = 1; threads <= (num_groups > 4 ? 2 : 1); ++threads) {
      const test::Threads use(threads);
      LanguageRun<float> run(GetParam().options, num_groups, world());
      EXPECT_TRUE(test::same_bits<float>(run.point(), initial));
      EXPECT_TRUE(test::same_bits<float>(run.gradient(), expected)) << threads << " threads";
      EXPECT_EQ(run.group_nats(), reference.group_nats());
      const std::vector<LayerStatistics> got = run.statistics();
      const std::vector<LayerStatistics> want = reference.statistics();
      ASSERT_EQ(got.size(), want.size());
      for (std::size_t l = 0; l < got.size(); ++l) {
        EXPECT_EQ(got[l].load, want[l].load);
        EXPECT_EQ(got[l].weighted_loss(GetParam().options.router), want[l].weighted_loss(GetParam().options.router));
      }
    }
  }
}

// Four groups at once, or two and two: the same tokens, the same random draws, another order of sums.
TEST_P(LanguageModelTest, PassesAddUpToTheStep) {
  ModelOptions options = GetParam().options;
  options.router.balance_scope = gating::BalanceScope::group;
  LanguageRun<double> whole(options, 4, world());
  LanguageRun<double> passes(options, 4, world(), 2);
  whole.spread_values();
  passes.spread_values();
  const std::vector<double> expected = whole.gradient();
  const std::vector<double> got = passes.gradient();
  ASSERT_EQ(got.size(), expected.size());
  double largest = 0.0;
  for (const double v : expected) largest = std::max(largest, std::abs(v));
  ASSERT_GT(largest, 1e-3);
  for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], expected[i], 1e-12 * largest) << "parameter " << i;
  ASSERT_EQ(passes.group_nats().size(), 4U);
  EXPECT_NEAR(passes.mean_loss(), whole.mean_loss(), 1e-12);
  const std::vector<LayerStatistics> merged = passes.statistics();
  const std::vector<LayerStatistics> at_once = whole.statistics();
  ASSERT_EQ(merged.size(), at_once.size());
  for (std::size_t l = 0; l < merged.size(); ++l) {
    EXPECT_EQ(merged[l].tokens, at_once[l].tokens);
    EXPECT_EQ(merged[l].load, at_once[l].load);
    EXPECT_EQ(merged[l].over_capacity, at_once[l].over_capacity);
    EXPECT_EQ(merged[l].refused_second, at_once[l].refused_second);
    EXPECT_NEAR(merged[l].weighted_loss(options.router), at_once[l].weighted_loss(options.router), 1e-12);
  }
}

// Without a limit on capacity no token decides about another, so the past does not depend on the future, nor a sequence
// on the others of its group. BLAS may round a row otherwise where an expert has another number of rows.
TEST_P(LanguageModelTest, ATokenChangesItsOwnAndLaterPositionsOfItsSequenceOnly) {
  ModelOptions options = GetParam().options;
  options.router.capacity_factor = 0.0;
  const Index num_groups = 3;
  LanguageRun<double> run(options, num_groups, world());
  run.spread_values();
  const std::vector<double> before = run.logits(run.tokens());
  const Index changed = run.group_rows() + options.context + 1;  // second sequence of the second group, position 1
  std::vector<std::int32_t> tokens = run.tokens();
  auto& token = tokens[static_cast<std::size_t>(changed)];
  token = (token + 1) % static_cast<std::int32_t>(vocabulary);
  const std::vector<double> after = run.logits(tokens);
  ASSERT_EQ(after.size(), static_cast<std::size_t>(num_groups * run.group_rows() * vocabulary));
  for (Index t = 0; t < num_groups * run.group_rows(); ++t) {
    double difference = 0.0;
    for (auto i = static_cast<std::size_t>(t * vocabulary); i < static_cast<std::size_t>((t + 1) * vocabulary); ++i) {
      difference = std::max(difference, std::abs(after[i] - before[i]));
    }
    const bool affected = t >= changed && t < run.group_rows() + 2 * options.context;
    if (affected) {
      EXPECT_GT(difference, 1e-6) << "token " << t;
    } else {
      EXPECT_LT(difference, 1e-12) << "token " << t;
    }
  }
}

TEST_P(LanguageModelTest, EvaluateGivesTheLossesOfForwardBackwardAndOfTheLogits) {
  LanguageRun<double> run(GetParam().options, 4, world());
  run.spread_values();
  static_cast<void>(run.gradient());
  const std::vector<double> trained = run.group_nats();
  static_cast<void>(run.objective(run.point()));
  EXPECT_EQ(run.group_nats(), trained);
  EXPECT_GT(run.mean_loss(), 0.5);
  // A step's logits belong to its tokens' rows: rank by rank, group by group.
  const std::vector<double> logits = run.logits(run.tokens());
  const std::vector<std::int32_t> targets = random_tokens(4 * run.group_rows(), 2);
  double nats = 0.0;
  for (std::size_t t = 0; t < targets.size(); ++t) {
    double sum = 0.0;
    for (std::size_t v = 0; v < vocabulary; ++v) sum += std::exp(logits[t * vocabulary + v]);
    nats += std::log(sum) - logits[t * vocabulary + static_cast<std::size_t>(targets[t])];
  }
  EXPECT_NEAR(nats / static_cast<double>(targets.size()), run.mean_loss(), 1e-12);
}

TEST(LanguageModel, CountsItsParametersOverAllRanks) {
  ModelOptions o = tiny();  // width 8, 3 gelu experts of 6, 9, 6
  o.moe_every = 2;
  LanguageRun<float> run(o, 1, world());
  const Index attention = 4 * 8 * 8;
  const Index norms = 2 * 8;
  const Index dense = 2 * 8 * 10;
  const Index moe = 3 * 8 + 2 * 8 * (6 + 9 + 6);
  EXPECT_EQ(run.model().num_parameters(), 2 * vocabulary * 8 + 8 + 2 * (attention + norms) + dense + moe);
  EXPECT_EQ(run.model().moe_layers().size(), 1U);
  EXPECT_EQ(world().sum(run.model().moe_layers().front()->shard().num_experts()), 3);
}

TEST(LanguageModel, RefusesOtherTokensThanTheStepHas) {
  LanguageRun<float> run(tiny(), 1, world());
  PhaseTimes times;
  const Step step{0, true, 1, 1, 0, {1, 8}, &times};
  const std::vector<std::int32_t> seven(7, 0);
  EXPECT_THROW(run.model().evaluate(step, {seven, seven}), InvariantError);
}

}  // namespace
}  // namespace conclave::model
