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

std::optional<ExpertMove> proposed(const ExpertMoves& moves, double element_s = 0.0) {
  return moves.proposal({.load_s = moves.load_s(), .element_s = element_s});
}

TEST(ExpertMoves, BalancesEachLayerByItself) {
  const train::TrainOptions options = some_options();
  ExpertMoves moves(options, 2);
  EXPECT_FALSE(proposed(moves).has_value()) << "nothing is known yet";
  moves.add(step_of({{30, 30, 10, 10}, {5, 35, 35, 5}}, 0.8));
  moves.add(step_of({{30, 30, 10, 10}, {5, 35, 35, 5}}, 0.8));
  const std::optional<ExpertMove> move = proposed(moves);
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
  moves.made(*proposed(moves));
  EXPECT_FALSE(proposed(moves).has_value()) << "loads are counted anew";
  moves.add(step);
  EXPECT_DOUBLE_EQ(proposed(moves)->before, 1.0);
  EXPECT_DOUBLE_EQ(proposed(moves)->gain_s, 0.0);
}

TEST(ExpertMoves, WeighsRowsByTheirExpertsAndPassesOverSkippedSteps) {
  train::TrainOptions options = some_options();
  options.model.layers = 2;
  options.model.experts.expert_hidden = {300, 100, 100, 100};
  ExpertMoves moves(options, 2);
  train::StepRecord skipped = step_of({{0, 0, 1000, 0}}, 9.0);
  skipped.skipped = "its loss was no number";
  moves.add(skipped);
  EXPECT_FALSE(proposed(moves).has_value());
  moves.add(step_of({{10, 10, 10, 10}}, 0.6));
  const std::optional<ExpertMove> move = proposed(moves);
  EXPECT_NEAR(move->before, 400.0 / 300.0, 1e-12);
  EXPECT_NEAR(move->gain_s, 0.0, 1e-12) << "two of four experts a rank: no exchange makes it more even";
}

TEST(ExpertMoves, CopiesAnExpertThatNoSingleRankCanServe) {
  train::TrainOptions options = some_options();
  options.model.layers = 2;
  options.placement = train::ExpertPlacement::automatic;
  const auto proposal = [&](Index replicas, double element_s, Index hot_rows, Index num_ranks = 2) {
    options.placement_replicas = replicas;
    ExpertMoves moves(options, num_ranks);
    moves.add(step_of({{hot_rows, 10, 10, 10}}, 0.8));
    EXPECT_EQ(moves.makes_replicas(), replicas > 0 && num_ranks > 1);
    return proposed(moves, element_s).value();
  };
  const Index rows = 4 * experts::default_block_rows;  // four segments
  EXPECT_EQ(proposal(0, 0.0, rows).replicas, 0);
  EXPECT_EQ(proposal(3, 0.0, rows, 1).replicas, 0) << "there is no other rank";
  const ExpertMove copied = proposal(1, 0.0, rows);
  EXPECT_EQ(copied.replicas, 1);
  EXPECT_EQ(copied.placement[0].hosts(ExpertId{0}), (std::vector{RankId{0}, RankId{1}}));
  EXPECT_GT(copied.before, 1.9);
  EXPECT_LT(copied.after, 1.1);
  EXPECT_GT(copied.gain_s, 0.7);
  EXPECT_LE(copied.gain_s, 0.8);
  // Values and a partial sum of the expert travel in each step, from one rank to the other.
  const ExpertMove dear = proposal(1, 1e-6, rows);
  EXPECT_NEAR(copied.gain_s - dear.gain_s, 2.0 * 1e-6 * 2.0 * 128.0 * 256.0, 1e-9);
  EXPECT_EQ(proposal(1, 1e-4, rows).replicas, 0) << "what travels takes longer than the rows";
  EXPECT_EQ(proposal(1, 0.0, 700).replicas, 0) << "the rows of one segment cannot be shared out";
}

TEST(ExpertMoves, KnowsWhatReplicasHaveToDoAfterAMove) {
  train::TrainOptions options = some_options();
  options.model.layers = 2;
  options.placement_replicas = 2;
  options.passes = 2;
  ExpertMoves moves(options, 3);
  const train::StepRecord step = step_of({{6 * experts::default_block_rows, 30, 30, 30}}, 0.8);
  moves.add(step);
  const ExpertMove move = proposed(moves).value();
  ASSERT_EQ(move.replicas, 1) << "two segments on three hosts: one would have none";
  moves.made(move);
  moves.add(step);
  const ExpertMove again = proposed(moves).value();
  EXPECT_NEAR(again.before, move.after, 1e-12);
  EXPECT_NEAR(again.gain_s, 0.0, 1e-12);
  EXPECT_GT(again.before, 1.4) << "two of three ranks have nearly all";
}

TEST(ExpertMoves, HasNothingToMoveInADenseModel) {
  train::TrainOptions options = some_options();
  options.model.moe_every = 0;
  ExpertMoves moves(options, 3);
  moves.add(step_of({}, 0.0));
  EXPECT_FALSE(proposed(moves).has_value());
}

}  // namespace
}  // namespace conclave::apps
