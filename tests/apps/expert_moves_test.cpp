// SPDX-License-Identifier: BSD-3-Clause
#include "apps/expert_moves.hpp"

#include <gtest/gtest.h>

namespace conclave::apps {
namespace {

train::TrainOptions some_options() {
  train::TrainOptions o;
  o.model.layers = 4;
  o.model.moe_every = 2;
  o.model.router.experts = 4;
  return o;
}

train::StepRecord step_of(std::vector<std::vector<Index>> loads, double experts_s) {
  train::StepRecord step;
  for (std::vector<Index>& load : loads) {
    model::LayerStatistics& layer = step.layers.emplace_back();
    layer.load = std::move(load);
  }
  step.phases[static_cast<std::size_t>(Phase::experts)].mean_s = experts_s;
  return step;
}

TEST(ExpertMoves, BalancesEachLayerByItself) {
  const train::TrainOptions options = some_options();
  ExpertMoves moves(options, 2);
  EXPECT_FALSE(moves.proposal().has_value()) << "nothing is known yet";
  moves.add(step_of({{30, 30, 10, 10}, {5, 35, 35, 5}}, 0.8));
  moves.add(step_of({{30, 30, 10, 10}, {5, 35, 35, 5}}, 0.8));
  const std::optional<ExpertMove> move = moves.proposal();
  ASSERT_TRUE(move.has_value());
  ASSERT_EQ(move->placement.size(), 2U);
  EXPECT_NE(move->placement[0].owner(ExpertId{0}), move->placement[0].owner(ExpertId{1}));
  EXPECT_NE(move->placement[1].owner(ExpertId{1}), move->placement[1].owner(ExpertId{2}));
  // 60 of 80 rows on one rank, and 40 of 80, which is even.
  EXPECT_DOUBLE_EQ(move->before, 100.0 / 80.0);
  EXPECT_DOUBLE_EQ(move->after, 1.0);
  EXPECT_DOUBLE_EQ(move->gain_s, 2.0 * 0.8 * 20.0 / 160.0) << "160 rows take two ranks 0.8 s each";
}

TEST(ExpertMoves, KnowsWhereExpertsAreAfterAMove) {
  const train::TrainOptions options = some_options();
  ExpertMoves moves(options, 2);
  const train::StepRecord step = step_of({{30, 30, 10, 10}, {5, 35, 35, 5}}, 0.8);
  moves.add(step);
  moves.made(*moves.proposal());
  EXPECT_FALSE(moves.proposal().has_value()) << "loads are counted anew";
  moves.add(step);
  EXPECT_DOUBLE_EQ(moves.proposal()->before, 1.0);
  EXPECT_DOUBLE_EQ(moves.proposal()->gain_s, 0.0);
}

TEST(ExpertMoves, WeighsRowsByTheirExpertsAndPassesOverSkippedSteps) {
  train::TrainOptions options = some_options();
  options.model.layers = 2;
  options.model.experts.expert_hidden = {300, 100, 100, 100};
  ExpertMoves moves(options, 2);
  train::StepRecord skipped = step_of({{0, 0, 1000, 0}}, 9.0);
  skipped.skipped = "its loss was no number";
  moves.add(skipped);
  EXPECT_FALSE(moves.proposal().has_value());
  moves.add(step_of({{10, 10, 10, 10}}, 0.6));
  const std::optional<ExpertMove> move = moves.proposal();
  EXPECT_NEAR(move->before, 400.0 / 300.0, 1e-12);
  EXPECT_NEAR(move->gain_s, 0.0, 1e-12) << "two of four experts a rank: no exchange makes it more even";
}

TEST(ExpertMoves, HasNothingToMoveInADenseModel) {
  train::TrainOptions options = some_options();
  options.model.moe_every = 0;
  ExpertMoves moves(options, 3);
  moves.add(step_of({}, 0.0));
  EXPECT_FALSE(moves.proposal().has_value());
}

}  // namespace
}  // namespace conclave::apps
