// SPDX-License-Identifier: BSD-3-Clause
// A new run at a checkpoint's parameters: of the same model, or of a dense one whose feed-forwards become experts.
#include "runtime/train/start.hpp"

#include "runtime/core/parallel.hpp"
#include "tests/train/short_run.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

namespace conclave::train {
namespace {

using test::world;

TrainOptions dense_options() {
  TrainOptions o = short_run_options();
  o.model.moe_every = 0;
  o.model.dense_kind = experts::ExpertKind::swiglu;
  o.model.experts.expert_bias = true;
  return o;
}

TrainOptions upcycled_options() {
  TrainOptions o = dense_options();
  o.model.moe_every = 1;
  o.model.experts.expert_kind = {"swiglu"};
  o.model.router.c_balance = 0.0;
  o.start.init_from = "named";
  o.start.upcycle = true;
  return o;
}

bool is_parameter(const std::string& name) { return name.starts_with("/params/"); }

/// A dense model, some steps old.
class Start : public testing::Test {
 protected:
  void SetUp() override {
    use_threads(1);
    for (int i = 0; i < 6; ++i) dense_.trainer().step();
    file_ = dense_.save();
    tensors_ = dense_.tensors();
  }
  /// The loss of the first step of a run that begins at the dense model.
  double first_loss(const TrainOptions& options) {
    validate(options);
    ShortRun run(options, world());
    run.start_from(file_);
    return run.trainer().step().loss;
  }
  double dense_loss() { return first_loss(dense_options()); }

  ShortRun dense_{dense_options(), world()};
  std::filesystem::path file_;
  StoredTensors tensors_;
};

TEST_F(Start, TakesOverTheParametersAndNothingElse) {
  ShortRun run(dense_options(), world());
  const StoredTensors drawn = run.tensors();
  run.start_from(file_);
  Index num_parameters = 0;
  for (const auto& [name, values] : run.tensors()) {
    EXPECT_EQ(values, is_parameter(name) ? tensors_.at(name) : drawn.at(name)) << name;
    num_parameters += is_parameter(name) && values != drawn.at(name) ? 1 : 0;
  }
  EXPECT_GT(num_parameters, 10);
  EXPECT_EQ(run.trainer().steps_done(), 0);
  ShortRun fresh(dense_options(), world());
  EXPECT_LT(dense_loss(), fresh.trainer().step().loss - 0.1);
}

TEST_F(Start, AnUpcycledModelBeginsAsTheDenseOne) {
  const double expected = dense_loss();
  EXPECT_NEAR(first_loss(upcycled_options()), expected, 1e-6 * expected);
  TrainOptions options = upcycled_options();
  options.model.moe_every = 2;  // the other block stays dense
  EXPECT_NEAR(first_loss(options), expected, 1e-6 * expected);
  options = upcycled_options();
  options.model.experts.expert_sharing = experts::ExpertSharing::base_and_delta;
  options.model.experts.expert_rank = 3;
  EXPECT_NEAR(first_loss(options), expected, 1e-6 * expected);
}

TEST_F(Start, NoiseTellsTheExpertsApart) {
  TrainOptions options = upcycled_options();
  options.start.upcycle_noise = 0.2;
  const double expected = dense_loss();
  const double noisy = first_loss(options);
  EXPECT_GT(std::abs(noisy - expected), 1e-4);
  EXPECT_LT(std::abs(noisy - expected), 0.5);

  // Of the deviation that was asked for, other for each expert, tensor and element.
  ShortRun run(options, world());
  run.start_from(file_);
  const StoredTensors made = run.tensors();
  std::vector<double> first;
  for (const char* expert : {"0000", "0003"}) {
    const std::vector<float>& from = tensors_.at("/params/block/1/feed_forward/w1");
    const std::vector<float>& to = made.at(fmt::format("/params/block/1/moe/expert/{}/w1", expert));
    std::vector<double> noise;
    double power = 0.0;
    double noise_power = 0.0;
    for (std::size_t i = 0; i < from.size(); ++i) {
      noise.push_back(static_cast<double>(to[i]) - from[i]);
      noise_power += noise[i] * noise[i];
      power += static_cast<double>(from[i]) * from[i];
    }
    EXPECT_NEAR(std::sqrt(noise_power / power), 0.2, 0.02) << expert;
    double product = 0.0;
    for (std::size_t i = 0; i < first.size(); ++i) product += first[i] * noise[i];
    EXPECT_LT(std::abs(product), 0.15 * noise_power) << "correlated";
    first = noise;
  }
}

// The values of the experts are the dense model's, slice by slice.
TEST_F(Start, ASplitModelHoldsTheSlicesOfTheDenseOne) {
  TrainOptions options = upcycled_options();
  options.model.experts.expert_hidden = {16};
  options.start.upcycle_split = 2;
  ShortRun run(options, world());
  run.start_from(file_);
  const StoredTensors made = run.tensors();
  const std::size_t width = 24, whole = 32, hidden = 16;
  Index num_compared = 0;
  for (std::size_t e = 0; e < 4; ++e) {
    const std::string to = fmt::format("/params/block/0/moe/expert/{:04}/", e);
    const std::string from = "/params/block/0/feed_forward/";
    const std::size_t first = e % 2 * hidden;
    for (std::size_t h = 0; h < hidden; ++h) {
      for (std::size_t i = 0; i < width; ++i, ++num_compared) {
        for (const char* w : {"w1", "w3"}) {
          ASSERT_EQ(made.at(to + w)[h * width + i], tensors_.at(from + w)[(first + h) * width + i]) << w;
        }
        ASSERT_EQ(made.at(to + "w2")[i * hidden + h], 2.0F * tensors_.at(from + "w2")[i * whole + first + h]);
      }
      for (const char* b : {"b1", "b3"}) {
        ASSERT_EQ(made.at(to + b)[h], tensors_.at(from + b)[first + h]) << b;
        ASSERT_NE(made.at(to + b)[h], 0.0F);
      }
    }
    EXPECT_EQ(made.at(to + "b2"), tensors_.at(from + "b2"));
  }
  EXPECT_EQ(num_compared, 4 * 24 * 16);
}

// Router weights of zero give every expert the same gate; all experts of all slices are chosen.
TEST_F(Start, SlicesWithEqualGatesSumToTheDenseModel) {
  for (const Index experts : {2, 4}) {
    TrainOptions options = upcycled_options();
    options.model.experts.expert_hidden = {16};
    options.model.router.experts = experts;
    options.model.router.top_k = experts;
    options.start.upcycle_split = 2;
    validate(options);
    ShortRun run(options, world());
    run.start_from(file_);
    for (model::MoeLayer<float>* layer : run.trainer().model().moe_layers()) {
      const Range router = layer->router_parameters();
      ASSERT_FALSE(router.empty());
      std::ranges::fill(run.trainer().model().values().subspan(static_cast<std::size_t>(router.begin),
                                                               static_cast<std::size_t>(router.size())),
                        0.0F);
    }
    const double expected = dense_loss();
    EXPECT_NEAR(run.trainer().step().loss, expected, 1e-6 * expected) << experts << " experts";
  }
}

TEST_F(Start, HasTheSameBitsOnAnyNumberOfRanks) {
  const comm::Communicator alone = world().split(world().rank().value());
  TrainOptions split = upcycled_options();
  split.model.experts.expert_hidden = {16};
  split.start.upcycle_split = 2;
  split.start.upcycle_noise = 0.1;
  TrainOptions sharing = upcycled_options();
  sharing.model.experts.expert_sharing = experts::ExpertSharing::base_and_delta;
  for (const TrainOptions& options : {split, sharing}) {
    ShortRun one(options, alone);
    one.start_from(file_);
    one.trainer().step();
    ShortRun many(options, world());
    many.start_from(file_);
    many.trainer().step();
    EXPECT_EQ(many.tensors(), one.tensors());
  }
}

TEST_F(Start, RefusesAnotherModelOnAllRanks) {
  const auto refusal = [&](const std::function<void(TrainOptions&)>& change, bool upcycle) {
    TrainOptions options = upcycle ? upcycled_options() : dense_options();
    change(options);
    try {
      validate(options);
      ShortRun run(options, world());
      run.start_from(file_);
    } catch (const InputError& error) {
      EXPECT_FALSE(std::string(error.hint()).empty());
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  using Change = std::function<void(TrainOptions&)>;
  const std::vector<std::pair<Change, std::string>> of_the_same{
      {[](auto& o) { o.model.heads = 4; }, "heads: 2 in the checkpoint, 4 here"},
      {[](auto& o) { o.model.dense_kind = experts::ExpertKind::gelu; }, "dense_kind: swiglu in the checkpoint, gelu"},
      {[](auto& o) { o.model.moe_every = 1; }, "moe_every: 0 in the checkpoint, 1 here"},
      {[](auto& o) { o.model.dense_hidden = 40; }, "feed_forward/w1: [32, 24], expected [40, 24]"},
      {[](auto& o) { o.model.tied_head = true; }, "tied_head: false in the checkpoint, true here"},
  };
  for (const auto& [change, words] : of_the_same) {
    EXPECT_NE(refusal(change, false).find(words), std::string::npos) << refusal(change, false);
  }
  const std::vector<std::pair<Change, std::string>> upcycled{
      {[](auto& o) { o.model.width = 48; }, "width: 24 in the checkpoint, 48 here"},
      {[](auto& o) { o.model.layers = 3; }, "layers: 2 in the checkpoint, 3 here"},
      {[](auto& o) { o.model.heads = 4; }, "heads: 2 in the checkpoint, 4 here"},
      {[](auto& o) { o.model.context = 16; }, "context: 8 in the checkpoint, 16 here"},
      {[](auto& o) { o.model.experts.expert_kind = {"gelu"}; }, "expert_kind: swiglu in the checkpoint, gelu here"},
      {[](auto& o) { o.model.experts.expert_hidden = {16}; }, "expert_hidden: 32 in the checkpoint, 16 here"},
      {[](auto& o) { o.model.experts.expert_bias = false; }, "expert_bias: true in the checkpoint, false here"},
      {[](auto& o) { o.model.moe_every = 2, o.model.dense_hidden = 8; }, "dense_hidden: 32 in the checkpoint, 8 here"},
      {[](auto& o) { o.start.upcycle_split = 2; }, "expert_hidden: 16 in the checkpoint, 32 here"},
      {[](auto& o) { o.start.upcycle_split = 3, o.model.router.experts = 3; }, "3 does not divide dense_hidden = 32"},
      {[](auto& o) { o.start.upcycle_split = 3; }, "upcycle_split = 3 with experts = 4"},
      {[](auto& o) { o.start.upcycle_split = 0; }, "upcycle_split = 0"},
      {[](auto& o) { o.start.upcycle_noise = -1.0; }, "upcycle_noise = -1"},
      {[](auto& o) { o.model.moe_every = 0; }, "upcycle with moe_every = 0"},
      {[](auto& o) { o.model.experts.shared_experts = 1; }, "upcycle with shared_experts = 1"},
      {[](auto& o) { o.start.init_from = ""; }, "upcycle without init_from"},
      {[](auto& o) { o.start.upcycle = false, o.start.upcycle_noise = 0.1; }, "without upcycle"},
      {[](auto& o) { o.start.upcycle = false, o.start.upcycle_split = 2; }, "without upcycle"},
      {[](auto& o) { o.resume = "elsewhere"; }, "resume = elsewhere with init_from = named"},
  };
  for (const auto& [change, words] : upcycled) {
    EXPECT_NE(refusal(change, true).find(words), std::string::npos) << refusal(change, true);
  }
  const auto sharing = [&](const Change& change) {
    return refusal(
        [&](TrainOptions& o) {
          o.model.experts.expert_sharing = experts::ExpertSharing::base_and_delta;
          change(o);
        },
        true);
  };
  EXPECT_EQ(sharing([](auto&) {}), "accepted");
  EXPECT_EQ(sharing([](auto& o) { o.start.upcycle_split = 2; }), "upcycle_split = 2 with expert_sharing = base+delta");
  EXPECT_EQ(sharing([](auto& o) { o.start.upcycle_noise = 0.1; }),
            "upcycle_noise = 0.1 with expert_sharing = base+delta");
}

TEST_F(Start, RefusesToUpcycleAModelWithExperts) {
  ShortRun sparse(upcycled_options(), world());
  const auto file = sparse.save();
  ShortRun run(upcycled_options(), world());
  try {
    run.start_from(file);
    FAIL() << "accepted";
  } catch (const InputError& error) {
    EXPECT_EQ(std::string(error.what()), "upcycle from a model with experts: moe_every = 1 in the checkpoint");
  }
  TrainOptions same = upcycled_options();
  same.start.upcycle = false;
  ShortRun goes_on(same, world());
  goes_on.start_from(file);
  EXPECT_EQ(goes_on.tensors(), sparse.tensors());
}

}  // namespace
}  // namespace conclave::train
