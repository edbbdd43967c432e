// SPDX-License-Identifier: BSD-3-Clause
// The whole model on several ranks: its gradient against central differences, and the bits of one rank.
#include "runtime/model/language_model.hpp"

#include "tests/model/moe_run.hpp"
#include "tests/support/mpi_world.hpp"

#include <gtest/gtest.h>

namespace conclave::model {
namespace {

using test::append;
using test::random_values;
using test::world;

constexpr Index vocabulary = 11;

ModelOptions tiny() {
  ModelOptions o;
  o.layers = 2;
  o.width = 8;
  o.heads = 2;
  o.context = 4;
  o.dense_hidden = 10;
  o.router.experts = 3;
  o.router.top_k = 2;
  o.router.capacity_factor = 1.0;
  o.router.min_capacity = 0;
  o.router.c_balance = 0.5;
  o.router.c_z = 0.1;
  o.router.c_importance = 0.2;
  o.experts.expert_hidden = {6, 9};
  return o;
}

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

/// A model on the ranks of a communicator, and one step's tokens, everything seen whole from every rank. All members
/// but the plainly local ones are collective.
template <class T>
class ModelRun {
 public:
  static constexpr Index sequences = 2;  // of a group

  /// A step of num_passes passes of num_groups / num_passes groups each.
  ModelRun(const ModelOptions& options, Index num_groups, const comm::Communicator& communicator, Index num_passes = 1)
      : communicator_(communicator),
        exchange_(comm::make_exchange(comm::exchange_strategies().front().name, communicator)),
        ranks_{&communicator, exchange_.get()},
        model_(options, vocabulary, 3, ranks_),
        num_groups_(num_groups),
        plan_(model_.replicated().size(), num_groups / num_passes, communicator.size()),
        gradients_(plan_, communicator.rank()),
        tokens_(random_tokens(num_groups * group_rows(), 1)),
        targets_(random_tokens(num_groups * group_rows(), 2)) {}

  /// Replaces the initial values, whose differences are small, by ones of size 1.
  void spread_values() {
    std::vector<T> point = drawn(model_.replicated(), 100);
    Index what = 1000;
    for (const MoeLayer<T>* layer : model_.moe_layers()) {
      for (Index e = 0; e < layer->map().num_experts(); ++e) {
        append(drawn(layer->expert_parameters(ExpertId{e}), what += 10), point);
      }
    }
    move_to(point);
  }

  /// All parameters: the replicated ones, then each layer's experts.
  [[nodiscard]] std::vector<T> point() {
    std::vector<T> all(model_.values().begin(), model_.values().end());
    append(of_experts([](auto& shard, LocalExpertId i) { return shard.values(i); }), all);
    return all;
  }
  void move_to(std::span<const T> point) {
    const std::span<T> values = model_.values();
    std::copy_n(point.begin(), values.size(), values.begin());
    auto next = point.begin() + std::ssize(values);
    for (MoeLayer<T>* layer : model_.moe_layers()) {
      for (Index e = 0; e < layer->map().num_experts(); ++e) {
        const Index size = layer->expert_parameters(ExpertId{e}).size();
        const std::vector<ExpertId>& mine = layer->map().experts_of(communicator_.rank());
        const auto at = std::ranges::find(mine, ExpertId{e});
        if (at != mine.end()) std::copy_n(next, size, layer->shard().values(LocalExpertId{at - mine.begin()}).begin());
        next += size;
      }
    }
    ASSERT_TRUE(next == point.end());
  }
  [[nodiscard]] std::vector<Range> tensors() {
    std::vector<Range> result;
    Index offset = append_tensors(model_.replicated(), 0, result);
    for (const MoeLayer<T>* layer : model_.moe_layers()) {
      for (Index e = 0; e < layer->map().num_experts(); ++e) {
        offset = append_tensors(layer->expert_parameters(ExpertId{e}), offset, result);
      }
    }
    return result;
  }

  /// Forward and backward of all passes: the gradient in the layout of point(). Leaves losses() behind.
  std::vector<T> gradient() {
    std::vector<T> whole(static_cast<std::size_t>(plan_.num_elements()), T{0});
    const Range slice = plan_.slice_of(communicator_.rank());
    for (MoeLayer<T>* layer : model_.moe_layers()) layer->shard().clear_gradients();
    clear_losses();
    for (Index pass = 0; pass < num_passes(); ++pass) {
      gradients_.clear();
      const Step step = step_of(pass);
      model_.forward_backward(step, {local(tokens_, step), local(targets_, step)}, gradients_);
      comm::reduce_scatter<T>(
          plan_, communicator_, *exchange_, gradients_.partial_sums(),
          std::span(whole).subspan(static_cast<std::size_t>(slice.begin), static_cast<std::size_t>(slice.size())));
      take_losses(step);
    }
    comm::all_gather_slices<T>(plan_, communicator_, whole);
    append(of_experts([](auto& shard, LocalExpertId i) { return shard.gradient(i); }), whole);
    return whole;
  }

  /// Mean cross entropy plus the weighted losses of all layers, forward only, at a point.
  double objective(std::span<const T> point) {
    move_to(point);
    clear_losses();
    for (Index pass = 0; pass < num_passes(); ++pass) {
      const Step step = step_of(pass);
      model_.evaluate(step, {local(tokens_, step), local(targets_, step)});
      take_losses(step);
    }
    double sum = mean_cross_entropy();
    for (const LayerStatistics& s : statistics()) sum += s.weighted_loss(model_.options().router);
    return sum;
  }

  [[nodiscard]] double mean_cross_entropy() const {
    double sum = 0.0;
    for (const double nats : group_nats_) sum += nats;
    return sum / static_cast<double>(num_groups_ * group_rows());
  }
  /// Of the last gradient() or objective(): each group's cross entropy, in order.
  [[nodiscard]] const std::vector<double>& group_nats() const { return group_nats_; }
  [[nodiscard]] std::vector<LayerStatistics> statistics() const { return merge_passes(statistics_); }

  /// [tokens, vocabulary] for other tokens than the step's own.
  std::vector<T> logits(const std::vector<std::int32_t>& tokens) {
    const Step step = step_of(0);
    const ConstMatrixView<T> here = model_.logits(step, local(tokens, step));
    return communicator_.gather_all(here.flat());
  }

  [[nodiscard]] LanguageModel<T>& model() { return model_; }
  [[nodiscard]] const std::vector<std::int32_t>& tokens() const { return tokens_; }
  [[nodiscard]] Index group_rows() const { return sequences * model_.options().context; }

 private:
  [[nodiscard]] Index num_passes() const { return plan_.num_groups() == 0 ? 1 : num_groups_ / plan_.num_groups(); }
  [[nodiscard]] Step step_of(Index pass) {
    const Range groups = plan_.groups_of(communicator_.rank());
    return {6,
            true,
            num_groups_,
            plan_.num_groups(),
            pass * plan_.num_groups() + groups.begin,
            {groups.size(), group_rows()},
            &times_};
  }
  [[nodiscard]] static std::span<const std::int32_t> local(const std::vector<std::int32_t>& all, const Step& step) {
    return std::span(all).subspan(static_cast<std::size_t>(step.first_group * step.groups.rows),
                                  static_cast<std::size_t>(step.groups.total_rows()));
  }
  static std::vector<T> drawn(const ParameterList& list, Index what) {
    std::vector<T> values;
    for (const ParameterEntry& entry : list.entries()) {
      const bool lookup = entry.name == "embedding";
      const double deviation = entry.decays && !lookup ? 1.0 / std::sqrt(static_cast<double>(entry.tensor.cols)) : 1.0;
      const double mean = entry.initial.constant;
      append(random_values<T>(entry.tensor.size(), what++, entry.decays ? deviation : 0.3, mean), values);
    }
    return values;
  }
  static Index append_tensors(const ParameterList& list, Index offset, std::vector<Range>& to) {
    for (const ParameterEntry& entry : list.entries()) {
      to.push_back({offset + entry.tensor.offset, offset + entry.tensor.range().end});
    }
    return offset + list.size();
  }
  std::vector<T> of_experts(const auto& part) {
    std::vector<T> all;
    for (MoeLayer<T>* layer : model_.moe_layers()) {
      std::vector<T> here;
      for (Index i = 0; i < layer->shard().num_experts(); ++i) append(part(layer->shard(), LocalExpertId{i}), here);
      append(communicator_.gather_all(std::span<const T>(here)), all);
    }
    return all;
  }
  void clear_losses() {
    group_nats_.clear();
    statistics_.clear();
  }
  void take_losses(const Step& step) {
    std::vector<double> nats;
    for (const LossSums& loss : model_.group_losses()) nats.push_back(loss.nats);
    append(comm::gather_groups(communicator_, nats), group_nats_);
    const std::vector<MoeLayer<T>*> layers = model_.moe_layers();
    statistics_.push_back(collect_statistics<T>(communicator_, step, {layers.begin(), layers.end()}));
  }

  const comm::Communicator& communicator_;
  std::unique_ptr<comm::Exchange> exchange_;
  Ranks ranks_;
  LanguageModel<T> model_;
  Index num_groups_;
  plan::ReducePlan plan_;
  GroupGradients<T> gradients_;
  PhaseTimes times_;
  std::vector<std::int32_t> tokens_;                      // [tokens]
  std::vector<std::int32_t> targets_;                     // [tokens]
  std::vector<double> group_nats_;                        // [groups]
  std::vector<std::vector<LayerStatistics>> statistics_;  // [passes][layers]
};

class LanguageModelTest : public testing::TestWithParam<ModelCase> {};
INSTANTIATE_TEST_SUITE_P(Each, LanguageModelTest, testing::ValuesIn(cases()),
                         [](const auto& instance) { return instance.param.name; });

TEST_P(LanguageModelTest, BackwardIsTheGradientByCentralDifferences) {
  ModelRun<double> run(GetParam().options, 3, world());
  run.spread_values();
  const std::vector<double> gradient = run.gradient();
  const std::vector<double> point = run.point();
  ASSERT_EQ(gradient.size(), point.size());
  ASSERT_EQ(static_cast<Index>(point.size()), run.model().num_parameters());
  test::expect_gradient_at(
      test::telling_places(run.tensors(), gradient, world().size() <= 3),
      [&](std::span<const double> at) { return run.objective(at); }, point, gradient);
}

TEST_P(LanguageModelTest, AnyNumberOfRanksAndThreadsGivesTheBitsOfOne) {
  const comm::Communicator alone = world().split(world().rank().value());
  for (const Index num_groups : {1, 4, 5}) {
    SCOPED_TRACE(fmt::format("{} groups", num_groups));
    ModelRun<float> reference(GetParam().options, num_groups, alone);
    const std::vector<float> initial = reference.point();
    const std::vector<float> expected = reference.gradient();
    const auto zeros = std::count(expected.begin(), expected.end(), 0.0F);
    ASSERT_LT(zeros, static_cast<std::ptrdiff_t>(expected.size() / 2));
    ASSERT_EQ(static_cast<Index>(reference.group_nats().size()), num_groups);
    for (Index threads = 1; threads <= (num_groups > 4 ? 2 : 1); ++threads) {
      const test::Threads use(threads);
      ModelRun<float> run(GetParam().options, num_groups, world());
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
  ModelRun<double> whole(options, 4, world());
  ModelRun<double> passes(options, 4, world(), 2);
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
  EXPECT_NEAR(passes.mean_cross_entropy(), whole.mean_cross_entropy(), 1e-12);
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
  ModelRun<double> run(options, num_groups, world());
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
  ModelRun<double> run(GetParam().options, 4, world());
  run.spread_values();
  static_cast<void>(run.gradient());
  const std::vector<double> trained = run.group_nats();
  static_cast<void>(run.objective(run.point()));
  EXPECT_EQ(run.group_nats(), trained);
  EXPECT_GT(run.mean_cross_entropy(), 0.5);
  // A step's logits belong to its tokens' rows: rank by rank, group by group.
  const std::vector<double> logits = run.logits(run.tokens());
  const std::vector<std::int32_t> targets = random_tokens(4 * run.group_rows(), 2);
  double nats = 0.0;
  for (std::size_t t = 0; t < targets.size(); ++t) {
    double sum = 0.0;
    for (std::size_t v = 0; v < vocabulary; ++v) sum += std::exp(logits[t * vocabulary + v]);
    nats += std::log(sum) - logits[t * vocabulary + static_cast<std::size_t>(targets[t])];
  }
  EXPECT_NEAR(nats / static_cast<double>(targets.size()), run.mean_cross_entropy(), 1e-12);
}

TEST(LanguageModel, CountsItsParametersOverAllRanks) {
  ModelOptions o = tiny();  // width 8, 3 gelu experts of 6, 9, 6
  o.moe_every = 2;
  ModelRun<float> run(o, 1, world());
  const Index attention = 4 * 8 * 8;
  const Index norms = 2 * 8;
  const Index dense = 2 * 8 * 10;
  const Index moe = 3 * 8 + 2 * 8 * (6 + 9 + 6);
  EXPECT_EQ(run.model().num_parameters(), 2 * vocabulary * 8 + 8 + 2 * (attention + norms) + dense + moe);
  EXPECT_EQ(run.model().moe_layers().size(), 1U);
  EXPECT_EQ(world().sum(run.model().moe_layers().front()->shard().num_experts()), 3);
}

TEST(LanguageModel, RefusesOtherTokensThanTheStepHas) {
  ModelRun<float> run(tiny(), 1, world());
  PhaseTimes times;
  const Step step{0, true, 1, 1, 0, {1, 8}, &times};
  const std::vector<std::int32_t> seven(7, 0);
  EXPECT_THROW(run.model().evaluate(step, {seven, seven}), InvariantError);
}

}  // namespace
}  // namespace conclave::model
