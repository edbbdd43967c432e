// SPDX-License-Identifier: BSD-3-Clause
// Where numbers that are not finite stand is found, and told in the same words, on any number of ranks.
#include "runtime/train/not_finite.hpp"

#include "runtime/core/parallel.hpp"
#include "tests/train/checkpoint_fixture.hpp"
#include "tests/train/short_run.hpp"

#include <cmath>
#include <limits>

namespace conclave::train {
namespace {

using test::world;
using testing_support::CheckpointTest;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();

TEST(IsFinite, AtEveryPlaceOfEveryLength) {
  constexpr std::array finite{0.0F,
                              -0.0F,
                              std::numeric_limits<float>::max(),
                              std::numeric_limits<float>::lowest(),
                              std::numeric_limits<float>::denorm_min(),
                              -1.5F};
  for (std::size_t size = 0; size < 70; ++size) {
    std::vector<float> values(size);
    for (std::size_t i = 0; i < size; ++i) values[i] = finite[i % finite.size()];
    ASSERT_TRUE(is_finite(values)) << size;
    for (std::size_t i = 0; i < size; ++i) {
      for (const float bad :
           {infinity, -infinity, nan_value, -nan_value, std::numeric_limits<float>::signaling_NaN()}) {
        const float good = std::exchange(values[i], bad);
        ASSERT_FALSE(is_finite(values)) << bad << " at " << i << " of " << size;
        values[i] = good;
      }
    }
  }
}

/// Tensors of a model, of which every rank holds uneven parts, all finite.
class Search : public CheckpointTest {
 protected:
  Search()
      : parts_(testing_support::uneven_parts(world(),
                                             {{"/params/embedding", {9, 5}},
                                              {"/params/block/0/attention/qkv", {6, 7}},
                                              {"/params/block/10/moe/router_weight", {4, 3}},
                                              {"/params/block/9/feed_forward/b1", {8}},
                                              {"/params/block/10/moe/shared/0001/w1", {2, 2}},
                                              {"/params/head/weight", {5, 2}},
                                              {"/params/block/10/moe/base/w1", {3, 3}},
                                              {"/params/block/10/moe/expert/0003/w1", {3, 4, 5}},
                                              {"/params/block/10/moe/expert/0012/w1", {3, 4, 5}},
                                              {"/params/block/10/moe/expert/0012/none", {0}}},
                                             7)) {
    parts_.fill();
  }
  /// Whoever holds the element.
  void set(const std::string& name, Index position, float value) {
    Index held = 0;
    for (TensorPart& part : parts_.parts) {
      if (part.name != name || !part.held.contains(position)) continue;
      part.data[position - part.held.begin] = value;
      ++held;
    }
    ASSERT_EQ(world().sum(held), 1) << name;
  }
  std::string found() {
    const auto place = first_not_finite(world(), parts_.parts);
    const std::string text = place ? place->sentence("it") : "all finite";
    for (const std::string& of_rank : world().gather_all(text)) EXPECT_EQ(of_rank, text);
    return text;
  }
  testing_support::Parts parts_;
};

TEST_F(Search, GoesFromTheLastLayerToTheFirst) {
  EXPECT_EQ(found(), "all finite");
  set("/params/embedding", 44, nan_value);
  EXPECT_EQ(found(), "it of `embedding` is not finite (first at [8, 4])");
  set("/params/embedding", 6, infinity);
  EXPECT_EQ(found(), "it of `embedding` is not finite (first at [1, 1])");
  set("/params/head/weight", 9, -infinity);
  EXPECT_EQ(found(), "it of `head/weight` is not finite (first at [4, 1])");
  set("/params/block/0/attention/qkv", 0, nan_value);
  EXPECT_EQ(found(), "it of layer 0, `attention/qkv` is not finite (first at [0, 0])");
  set("/params/block/9/feed_forward/b1", 5, nan_value);
  EXPECT_EQ(found(), "it of layer 9, `feed_forward/b1` is not finite (first at [5])");
  set("/params/block/10/moe/router_weight", 4, nan_value);
  EXPECT_EQ(found(), "it of layer 10, `moe/router_weight` is not finite (first at [1, 1])");
  set("/params/block/10/moe/shared/0001/w1", 3, nan_value);
  EXPECT_EQ(found(), "it of layer 10, `moe/shared/0001/w1` is not finite (first at [1, 1])");
  set("/params/block/10/moe/expert/0012/w1", 59, nan_value);
  EXPECT_EQ(found(), "it of layer 10, expert 12, `w1` is not finite (first at [2, 3, 4])");
  set("/params/block/10/moe/expert/0003/w1", 23, nan_value);
  EXPECT_EQ(found(), "it of layer 10, expert 3, `w1` is not finite (first at [1, 0, 3])");
}

/// The error that a step must end with, the same on every rank.
std::string step_error(Trainer& trainer) {
  std::string text = "none";
  try {
    trainer.step();
  } catch (const NotFiniteError& error) {
    EXPECT_NE(error.hint(), "");
    EXPECT_EQ(error.step(), trainer.steps_done() + 1);
    text = error.what();
  }
  for (const std::string& of_rank : world().gather_all(text)) EXPECT_EQ(of_rank, text);
  return text;
}

TrainOptions unhappy_run() {
  use_threads(1);
  TrainOptions o = short_run_options();
  o.model.experts.expert_sharing = experts::ExpertSharing::base_and_delta;
  o.model.experts.expert_rank = 2;
  return o;
}

// Both kinds of parameters: whole on every rank, and an expert's, on its owner alone.
TEST(NotFinite, WeightsAreNamedAtTheNextStep) {
  for (const bool is_of_expert : {false, true}) {
    ShortRun run(unhappy_run(), world());
    run.trainer().step();
    model::Model<float>& model = run.trainer().model();
    model::MoeLayer<float>& layer = *model.moe_layers()[1];
    if (!is_of_expert) {
      const ParameterEntry& entry = model.replicated().entries().at(3);
      ASSERT_EQ(entry.name, "block/0/attention/qkv");
      model.values()[static_cast<std::size_t>(entry.tensor.offset + entry.tensor.cols + 2)] = nan_value;
    } else if (layer.map().owner(ExpertId{2}) == world().rank()) {
      const auto mine = layer.map().experts_of(world().rank());
      const LocalExpertId local{std::ranges::find(mine, ExpertId{2}) - mine.begin()};
      const ParameterEntry& entry = layer.shard().parameters(local).entries().at(0);
      ASSERT_EQ(entry.name, "block/1/moe/expert/0002/w1_a");
      layer.shard().values(local)[static_cast<std::size_t>(entry.tensor.offset + 5)] = infinity;
    }
    EXPECT_EQ(step_error(run.trainer()),
              is_of_expert ? "step 2: the value of layer 1, expert 2, `w1_a` is not finite (first at [2, 1])"
                           : "step 2: the value of layer 0, `attention/qkv` is not finite (first at [1, 2])");
  }
}

TEST(NotFinite, WeightsAreNamedAfterTheUpdateThatMadeThemSo) {
  for (const OnNan policy : {OnNan::stop, OnNan::skip, OnNan::rollback}) {
    TrainOptions options = unhappy_run();
    options.not_finite.on_nan = policy;
    options.optimizer.learning_rate = 1e30;
    options.optimizer.weight_decay = 1e30;
    options.optimizer.freeze = {"experts"};
    ShortRun run(options, world());
    EXPECT_EQ(step_error(run.trainer()).find("step 1: the new value of layer 1, `moe/router_weight` is not finite"),
              0U);
  }
}

// The rest of the step is sound: loss, weights, and the gradients of everything else.
TEST(NotFinite, AGradientAloneStopsTheUpdateAndIsNamed) {
  use_threads(1);
  const TrainOptions options = unhappy_run();
  const model::Transport transport(options.transport, world());
  const auto model = model::make_model<float>(options.model, {.vocabulary = 8}, 1, transport.ranks());
  PhaseTimes times;
  ShardedOptimizer optimizer(options.optimizer, *model, transport.ranks(), 4, times);
  const auto state = [&] {
    std::vector<float> all;
    for (const TensorPart& part : optimizer.parts()) all.insert(all.end(), part.data, part.data + part.held.size());
    return all;
  };
  const std::vector<float> before = state();
  const auto set = [&](const std::string& name, Index position, float value) {
    for (const TensorPart& part : optimizer.gradients()) {
      if (part.name == name && part.held.contains(position)) part.data[position - part.held.begin] = value;
    }
  };
  const auto found = [&] { return first_not_finite(world(), optimizer.gradients()).value().sentence("the gradient"); };
  set("block/0/moe/expert/0003/w2_b", 7, infinity);
  UpdateOutcome outcome = optimizer.update(0, 0.1, SkippedSteps({}), true);
  EXPECT_FALSE(outcome.is_done);
  EXPECT_FALSE(std::isfinite(outcome.gradient_norm));
  EXPECT_EQ(found(), "the gradient of layer 0, expert 3, `w2_b` is not finite (first at [0, 7])");
  set("block/1/moe/base/w1", 30, nan_value);
  EXPECT_FALSE(optimizer.update(0, 0.1, SkippedSteps({}), true).is_done);
  EXPECT_EQ(found(), "the gradient of layer 1, `moe/base/w1` is not finite (first at [1, 6])");
  for (const TensorPart& part : optimizer.gradients()) std::fill_n(part.data, part.held.size(), 0.5F);

  // What any rank alone knows to be wrong counts for all.
  const bool is_last = world().rank() == RankId{world().size() - 1};
  outcome = optimizer.update(0, 0.1, SkippedSteps({}), !is_last);
  EXPECT_FALSE(outcome.is_done);
  EXPECT_TRUE(std::isfinite(outcome.gradient_norm));
  EXPECT_EQ(state(), before);
  EXPECT_TRUE(optimizer.update(0, 0.1, SkippedSteps({}), true).is_done);
  EXPECT_TRUE(world().any(state() != before));
}

TEST(NotFinite, WeightsOfACheckpointAreRefusedByName) {
  ShortRun run(unhappy_run(), world());
  run.trainer().step();
  const auto values = run.trainer().model().values();
  const ParameterEntry& entry = run.trainer().model().replicated().entries().back();
  values[static_cast<std::size_t>(entry.tensor.offset)] = nan_value;
  const std::filesystem::path file = run.save();
  const CheckpointHeader header = read_header(world(), file);
  const auto refusal = [&](auto&& work) {
    ShortRun other(unhappy_run(), world());
    try {
      work(other.trainer());
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  const std::string expected =
      fmt::format("{}: the value of `{}` is not finite (first at [0, 0])", file.string(), entry.name);
  EXPECT_EQ(refusal([&](Trainer& trainer) { trainer.restore(file, header); }), expected);
  EXPECT_EQ(refusal([&](Trainer& trainer) { trainer.start_from(file, header); }), expected);
}

TEST(SkippedSteps, GoThroughACheckpoint) {
  const std::vector<Index> told{4, 9};
  SkippedSteps before(told);
  EXPECT_FALSE(before.contains(5));
  before.add(5, "five");
  before.add(6, "six");
  before.add(4, "four");  // told already
  before.add(12, "ahead");
  EXPECT_EQ(before.found_in_row(6), 2);
  EXPECT_EQ(before.found_in_row(4), 0);
  EXPECT_EQ(before.found_in_row(7), 0);
  EXPECT_EQ(before.found_after(5), 2);
  EXPECT_EQ(before.count(6, [](Index step) { return step != 5; }), 2);
  EXPECT_EQ(before.reason(6), "six");

  const NumberTable table = before.table(7);
  EXPECT_EQ(table.values, (std::vector<double>{4, 0, 5, 1, 6, 1, 12, 1})) << "9 is told again, or not";
  SkippedSteps after({});
  after.resume(table, 7);
  for (Index step = 1; step < 15; ++step) {
    EXPECT_EQ(after.contains(step), step == 4 || step == 5 || step == 6 || step == 12) << step;
  }
  EXPECT_EQ(after.found_in_row(6), 2);
  SkippedSteps later(std::vector<Index>{4, 8});
  later.resume(table, 7);
  EXPECT_TRUE(later.contains(8));
  SkippedSteps late(std::vector<Index>{3});
  EXPECT_THROW(late.resume(table, 7), InputError);
  // As a checkpoint from elsewhere may have it.
  for (const NumberTable& forged : {NumberTable{1, 3, {4, 0, 0}}, NumberTable{2, 2, {4, 0}}, NumberTable{1, 2, {-4, 0}},
                                    NumberTable{1, 2, {NAN, 0}}}) {
    EXPECT_THROW(SkippedSteps({}).resume(forged, 7), InputError);
  }
}

}  // namespace
}  // namespace conclave::train
