// SPDX-License-Identifier: BSD-3-Clause
#include "apps/expert_moves.hpp"

#include "tests/apps/moving_run.hpp"

#include <gtest/gtest.h>

namespace conclave::apps {
namespace {

using test::moving_options;
using test::priced_run;
using test::Rows;
using test::step_of;

constexpr double fast_Bps = 1e11;
constexpr double slow_Bps = 1e8;

// After as many such steps as it takes.
ExpertMove proposal_after(ExpertMoves& moves, const train::StepRecord& step) {
  for (Index i = 0; i < 6; ++i) moves.add(step);
  return moves.proposal().value();
}

ExpertMove proposal_of(const train::TrainOptions& options, PricedRun run, const std::vector<Rows>& layers) {
  ExpertMoves moves(options, std::move(run));
  return proposal_after(moves, step_of(layers, 1.0, 0.9));
}

TEST(ExpertMoves, BalancesEachLayerByItself) {
  const train::TrainOptions options = moving_options();
  ExpertMoves moves(options, priced_run(options, 2, fast_Bps, true));
  EXPECT_FALSE(moves.proposal().has_value()) << "nothing is known yet";
  const train::StepRecord step = step_of({{{3000, 3000, 1000, 1000}}, {{500, 3500, 3500, 500}}}, 1.0, 0.9);
  const ExpertMove move = proposal_after(moves, step);
  EXPECT_TRUE(move.is_other);
  ASSERT_EQ(move.placement.size(), 2U);
  EXPECT_NE(move.placement[0].owner(ExpertId{0}), move.placement[0].owner(ExpertId{1}));
  EXPECT_NE(move.placement[1].owner(ExpertId{1}), move.placement[1].owner(ExpertId{2}));
  EXPECT_EQ(move.placement[1].owner(ExpertId{0}), move.placement[1].owner(ExpertId{1})) << "which is even as it is";
  // 6000 of 8000 rows on one rank, and 4000 of 8000.
  EXPECT_DOUBLE_EQ(move.before, 10000.0 / 8000.0);
  EXPECT_DOUBLE_EQ(move.after, 1.0);
  EXPECT_EQ(move.measured_s, 1.0);
  // 2000 rows less on the fullest rank of one layer.
  const double row_s = 6.0 * 2.0 * 64.0 * 1024.0 * 1e-11;
  EXPECT_GT(move.priced_s - move.then_s, 0.9 * 2000.0 * row_s);
  EXPECT_LT(move.priced_s - move.then_s, 3.0 * 2000.0 * row_s) << "and what goes through memory";
}

TEST(ExpertMoves, KnowsWhereExpertsAreAfterAMove) {
  const train::TrainOptions options = moving_options();
  ExpertMoves moves(options, priced_run(options, 2, fast_Bps, true));
  const train::StepRecord step = step_of({{{3000, 3000, 1000, 1000}}, {{500, 3500, 3500, 500}}}, 1.0, 0.9);
  moves.made(proposal_after(moves, step));
  EXPECT_FALSE(moves.proposal().has_value()) << "steps are taken in anew";
  EXPECT_FALSE(moves.step_s().has_value());
  const ExpertMove again = proposal_after(moves, step);
  EXPECT_FALSE(again.is_other);
  EXPECT_DOUBLE_EQ(again.before, 1.0);
  EXPECT_EQ(again.gain_s, 0.0);
}

TEST(ExpertMoves, FirstStepsAndSkippedOnesTellNoTime) {
  const train::TrainOptions options = moving_options();
  ExpertMoves moves(options, priced_run(options, 2, fast_Bps, true));
  const std::vector<Rows> even(2, Rows{{10, 10, 10, 10}});
  train::StepRecord skipped = step_of(even, 77.0, 0.0);
  skipped.skipped = "its loss was no number";
  const auto add = [&](std::initializer_list<double> seconds) {
    for (const double s : seconds) moves.add(step_of(even, s, 0.0));
  };
  add({9.0, 8.0, 1.0, 2.0});
  EXPECT_FALSE(moves.step_s().has_value()) << "two that warm up, and two";
  moves.add(skipped);
  moves.begin();
  add({9.0, 8.0, 30.0});
  EXPECT_EQ(moves.step_s().value(), 2.0) << "the median of 1, 2 and 30";
}

TEST(ExpertMoves, WeighsRowsByTheirExperts) {
  train::TrainOptions options = moving_options();
  options.model.layers = 2;
  options.model.experts.expert_hidden = {3072, 1024, 1024, 1024};
  const ExpertMove move = proposal_of(options, priced_run(options, 2, fast_Bps, true), {{{1000, 1000, 1000, 1000}}});
  EXPECT_NEAR(move.before, 4.0 / 3.0, 1e-12);
  EXPECT_FALSE(move.is_other) << "two of four experts a rank: no exchange makes it more even";
}

// Rank 0 asks for its own two experts, which are hot. To relieve it, rows would have to leave it.
TEST(ExpertMoves, StayWhereRowsWouldTakeLongerOnTheirWayThanExpertsSave) {
  train::TrainOptions options = moving_options();
  options.model.layers = 2;
  options.groups = 2;
  const std::vector<Rows> rows{{{3000, 3000, 0, 0}, {0, 0, 500, 500}}};
  const auto proposed = [&](double Bps) { return proposal_of(options, priced_run(options, 2, Bps, false, 2), rows); };
  const ExpertMove fast = proposed(fast_Bps);
  EXPECT_TRUE(fast.is_other);
  EXPECT_LT(fast.after, 0.7 * fast.before);
  EXPECT_GT(fast.gain_s, 0.0);
  const ExpertMove slow = proposed(slow_Bps);
  EXPECT_FALSE(slow.is_other) << text_of(slow);
  EXPECT_EQ(slow.gain_s, 0.0);
}

// Each rank asks for the other one's experts: loads are even, and all rows are on their way.
TEST(ExpertMoves, MoveWhereThatSavesRowsTheirWayThoughLoadsAreEven) {
  train::TrainOptions options = moving_options();
  options.model.layers = 2;
  options.groups = 2;
  const std::vector<Rows> rows{{{0, 0, 1000, 1000}, {1000, 1000, 0, 0}}};
  const ExpertMove move = proposal_of(options, priced_run(options, 2, slow_Bps, false, 2), rows);
  EXPECT_DOUBLE_EQ(move.before, 1.0);
  EXPECT_DOUBLE_EQ(move.after, 1.0);
  ASSERT_TRUE(move.is_other);
  EXPECT_EQ(move.placement[0].owner(ExpertId{0}), RankId{1});
  EXPECT_EQ(move.placement[0].owner(ExpertId{3}), RankId{0});
  // Of 2000 rows each way, out and home, forward and back; of the last of these experts may hide much.
  EXPECT_GT(move.priced_s - move.then_s, 0.99 * 3.0 * 2000.0 * 64.0 * 4.0 / slow_Bps);
  EXPECT_GT(move.gain_s, 0.0);
}

TEST(ExpertMoves, CopiesAnExpertThatNoSingleRankCanServe) {
  train::TrainOptions options = moving_options();
  options.model.layers = 2;
  options.model.experts.expert_hidden = {16384};  // more bytes than its rows
  const auto proposed = [&](Index replicas, double Bps, Index hot_rows, Index ranks = 2) {
    options.placement_replicas = replicas;
    return proposal_of(options, priced_run(options, ranks, Bps, true), {{{hot_rows, 10, 10, 10}}});
  };
  const Index rows = 16 * experts::default_block_rows;
  EXPECT_EQ(proposed(0, fast_Bps, rows).replicas, 0);
  EXPECT_EQ(proposed(3, fast_Bps, rows, 1).replicas, 0) << "there is no other rank";
  const ExpertMove copied = proposed(1, fast_Bps, rows);
  EXPECT_EQ(copied.replicas, 1);
  EXPECT_EQ(copied.placement[0].hosts(ExpertId{0}), (std::vector{RankId{0}, RankId{1}}));
  EXPECT_GT(copied.before, 1.9);
  EXPECT_LT(copied.after, 1.1);
  EXPECT_EQ(proposed(1, 1e6, rows).replicas, 0) << "gradients and values on their way take longer than the rows";
  EXPECT_EQ(proposed(1, fast_Bps, 700).replicas, 0) << "the rows of one segment cannot be shared out";
}

TEST(ExpertMoves, ManyLayersAndSparseRanksAreOrdinary) {
  train::TrainOptions options = moving_options();
  options.model.layers = 80;
  options.model.moe_every = 1;
  const std::vector<Rows> layers(80, Rows{{3000, 2000, 1000, 0}});
  const ExpertMove move = proposal_of(options, priced_run(options, 6, fast_Bps, true), layers);
  EXPECT_EQ(std::ssize(move.placement), 80);
  const ExpertMove empty =
      proposal_of(options, priced_run(options, 3, fast_Bps, false), std::vector<Rows>(80, Rows{{0, 0, 0, 0}}));
  EXPECT_EQ(empty.before, 1.0);
  EXPECT_FALSE(empty.is_other);
}

TEST(BelievedGain, IsNoMoreThanMeasurementsAllow) {
  EXPECT_DOUBLE_EQ(believed_gain_s(1.0, 1.0, 0.75), 0.25);
  EXPECT_DOUBLE_EQ(believed_gain_s(1.0, 1.25, 1.0), 0.2) << "scaled down to the measured step";
  EXPECT_DOUBLE_EQ(believed_gain_s(1.25, 1.0, 0.75), 0.25) << "not up";
  EXPECT_DOUBLE_EQ(believed_gain_s(2.0, 1.0, 0.75), 0.125) << "off by half: half is believed";
  EXPECT_EQ(believed_gain_s(1.0, 1.0, 1.0), 0.0);
  EXPECT_LT(believed_gain_s(1.0, 1.0, 1.1), 0.0);
}

TEST(RunRates, PhasesTakeWhatWasMeasured) {
  const train::TrainOptions options = moving_options();
  const PricedRun run = priced_run(options, 2, fast_Bps, true);
  const std::vector<double> even(4, 0.25);
  const std::vector<sim::ExpertLoads> loads{sim::expected_loads(run.workload, even)};
  std::array<double, num_phases> phases_s{};
  for (std::size_t p = 0; p < num_phases; ++p) phases_s[p] = 0.01 * static_cast<double>(p + 1);
  const sim::Machine machine = machine_of_phases({run.workload, run.network, nullptr, loads}, phases_s, run.machine);
  EXPECT_EQ(machine.node, run.machine.node);
  const sim::TrainingPrice price = sim::price_training_step({run.workload, run.network, &machine, loads});
  double sum = 0.0;
  for (const auto& entry : enum_names(Phase{})) {
    if (entry.value == Phase::wait) continue;
    const auto p = static_cast<std::size_t>(entry.value);
    EXPECT_NEAR(price.of(entry.value), phases_s[p], 1e-12) << entry.name;
    sum += phases_s[p];
  }
  EXPECT_GT(price.step_s, sum) << "rows on their way, and who has more experts";
}

TEST(RunRates, AClusterIsWhatMessagesTell) {
  const train::TrainOptions options = moving_options();
  sim::Machine machine = priced_run(options, 2, 3e9, true).machine;
  const sim::Cluster two = cluster_of_messages(machine, 2, 3);
  EXPECT_EQ(two.num_ranks(), 6);
  EXPECT_EQ(two.nic_Bps, 3e9);
  EXPECT_EQ(two.latency_s, 1e-6);
  machine.network.reset();
  EXPECT_NO_THROW(cluster_of_messages(machine, 1, 3));
  EXPECT_THROW(cluster_of_messages(machine, 2, 1), InputError);
  machine.node.reset();
  EXPECT_NO_THROW(cluster_of_messages(machine, 1, 1));
  EXPECT_THROW(cluster_of_messages(machine, 1, 2), InputError);
}

TEST(EvenSample, KeepsSomeAtEvenDistances) {
  EvenSample<Index> sample(4);
  for (Index i = 0; i < 4; ++i) sample.add(i);
  EXPECT_EQ(sample.values(), (std::vector<Index>{0, 1, 2, 3}));
  for (Index i = 4; i < 23; ++i) sample.add(i);
  EXPECT_EQ(sample.values(), (std::vector<Index>{0, 8, 16}));
  EXPECT_EQ(sample.count(), 23);
  EvenSample<std::vector<Index>> lists(2);
  for (Index i = 0; i < 3; ++i) lists.add({i});
  EXPECT_EQ(lists.values(), (std::vector<std::vector<Index>>{{0}, {2}})) << "values that move";
  sample.clear();
  sample.add(5);
  EXPECT_EQ(sample.values(), std::vector<Index>{5});
}

}  // namespace
}  // namespace conclave::apps
