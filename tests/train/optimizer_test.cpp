// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/optimizer.hpp"

#include "runtime/core/random.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace conclave::train {
namespace {

std::vector<float> normals(Index size, Index which) {
  const Random random(7, RandomStream::initial);
  std::vector<float> values;
  for (Index i = 0; i < size; ++i) values.push_back(static_cast<float>(random.normal(i, which)));
  return values;
}

/// A few updates by the rule under test, of `size` parameters cut at `cut`.
struct Trial {
  std::vector<float> values;
  std::vector<std::vector<float>> states;

  Trial(const OptimizerOptions& options, Index size, std::size_t cut, Index updates) : values(normals(size, 0)) {
    const auto rule = make_optimizer(options);
    states.assign(rule->states().size(), std::vector<float>(values.size(), 0.0F));
    for (Index u = 0; u < updates; ++u) {
      const std::vector<float> gradient = normals(size, 1 + u);
      const Update update{.learning_rate = 0.1, .weight_decay = 0.2, .gradient_scale = 0.5, .step = u};
      for (const auto& [begin, count] : {std::pair{std::size_t{0}, cut}, {cut, values.size() - cut}}) {
        std::vector<std::span<float>> parts;
        for (auto& state : states) parts.push_back(std::span(state).subspan(begin, count));
        rule->apply(update, std::span(values).subspan(begin, count), std::span(gradient).subspan(begin, count), parts);
      }
    }
  }
};

TEST(Optimizer, AdamwFollowsTheAlgorithm) {
  const OptimizerOptions options;
  const Index size = 37;
  const Trial trial(options, size, 0, 3);
  const std::vector<float> start = normals(size, 0);
  for (std::size_t i = 0; i < start.size(); ++i) {
    double w = start[i];
    double m = 0.0;
    double v = 0.0;
    for (int t = 1; t <= 3; ++t) {
      const double g = 0.5 * normals(size, t)[i];
      m = options.beta1 * m + (1.0 - options.beta1) * g;
      v = options.beta2 * v + (1.0 - options.beta2) * g * g;
      const double m_hat = m / (1.0 - std::pow(options.beta1, t));
      const double v_hat = v / (1.0 - std::pow(options.beta2, t));
      w -= 0.1 * (m_hat / (std::sqrt(v_hat) + options.epsilon) + 0.2 * w);
    }
    ASSERT_NE(start[i], trial.values[i]);
    EXPECT_NEAR(w, trial.values[i], 3e-6) << "parameter " << i;
  }
}

TEST(Optimizer, SgdFollowsTheAlgorithm) {
  OptimizerOptions options;
  options.optimizer = "sgd";
  const Index size = 37;
  const Trial trial(options, size, 0, 3);
  const std::vector<float> start = normals(size, 0);
  for (std::size_t i = 0; i < start.size(); ++i) {
    double w = start[i];
    double m = 0.0;
    for (int t = 1; t <= 3; ++t) {
      m = options.momentum * m + 0.5 * normals(size, t)[i];
      w -= 0.1 * (m + 0.2 * w);
    }
    EXPECT_NEAR(w, trial.values[i], 3e-6) << "parameter " << i;
  }
}

TEST(Optimizer, BitsDoNotDependOnHowParametersAreCut) {
  for (const OptimizerKind& kind : optimizer_kinds()) {
    OptimizerOptions options;
    options.optimizer = kind.name;
    const Trial whole(options, 101, 0, 2);
    for (std::size_t cut = 1; cut < 40; ++cut) {
      const Trial parts(options, 101, cut, 2);
      EXPECT_EQ(whole.values, parts.values) << kind.name << " cut at " << cut;
      EXPECT_EQ(whole.states, parts.states) << kind.name << " cut at " << cut;
    }
  }
}

TEST(Optimizer, LearningRateWarmsUpAndFallsToItsPart) {
  OptimizerOptions options;
  options.learning_rate = 2.0;
  options.warmup_steps = 4;
  options.final_rate = 0.25;
  EXPECT_DOUBLE_EQ(learning_rate(options, 0, 104), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate(options, 3, 104), 2.0);
  EXPECT_DOUBLE_EQ(learning_rate(options, 4, 104), 2.0);
  EXPECT_NEAR(learning_rate(options, 54, 104), 2.0 * 0.625, 1e-12);
  EXPECT_NEAR(learning_rate(options, 104, 104), 0.5, 1e-12);
  EXPECT_NEAR(learning_rate(options, 500, 104), 0.5, 1e-12);
  options.schedule = Schedule::constant;
  EXPECT_DOUBLE_EQ(learning_rate(options, 90, 104), 2.0);
}

TEST(Optimizer, PartsMoveUnlessTheyAreFrozenOrRest) {
  OptimizerOptions options;
  options.gate_every = 3;
  options.freeze = {"dense"};
  for (Index step = 0; step < 9; ++step) {
    EXPECT_FALSE(moves(options, ModelPart::dense, step));
    EXPECT_TRUE(moves(options, ModelPart::experts, step));
    EXPECT_EQ(moves(options, ModelPart::gate, step), step == 2 || step == 5 || step == 8);
    EXPECT_EQ(updates_before(options, ModelPart::experts, step), step);
  }
  EXPECT_EQ(updates_before(options, ModelPart::gate, 2), 0);
  EXPECT_EQ(updates_before(options, ModelPart::gate, 8), 2);
}

TEST(Optimizer, RefusesWhatCannotBe) {
  const auto message = [](const std::function<void(OptimizerOptions&)>& spoil) {
    OptimizerOptions options;
    spoil(options);
    try {
      validate(options);
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(message([](auto&) {}), "accepted");
  EXPECT_EQ(message([](auto& o) { o.learning_rate = -1.0; }), "learning_rate = -1");
  EXPECT_EQ(message([](auto& o) { o.beta2 = 1.0; }), "beta2 = 1");
  EXPECT_EQ(message([](auto& o) { o.clip_norm = -2.0; }), "clip_norm = -2");
  EXPECT_EQ(message([](auto& o) { o.warmup_steps = -3; }), "warmup_steps = -3");
  EXPECT_EQ(message([](auto& o) { o.gate_every = 0; }), "gate_every = 0");
  EXPECT_EQ(message([](auto& o) { o.freeze = {"dense", "experts"}; }), "accepted");
  EXPECT_EQ(message([](auto& o) { o.freeze = {"dense", "router"}; }), "freeze has 'router'");
  EXPECT_EQ(message([](auto& o) { o.freeze = {"expert"}; }), "freeze has 'expert'; did you mean experts?");
  EXPECT_EQ(message([](auto& o) {
              o.freeze = {"dense", "gate", "experts"};
            }),
            "freeze = dense,gate,experts leaves nothing to train");
  EXPECT_EQ(message([](auto& o) { o.optimizer = "adamv"; }), "there is no optimizer 'adamv'; did you mean adamw?");
}

}  // namespace
}  // namespace conclave::train
