// SPDX-License-Identifier: BSD-3-Clause
// Where constructed steps' time went, and for whom constructed runs waited.
#include "runtime/train/attribution.hpp"

#include "runtime/train/waiting.hpp"

#include <gtest/gtest.h>

namespace conclave::train {
namespace {

/// What a rank does in a step of a model whose second layer of two has experts.
struct RankStep {
  double data_s = 0.0;
  double head_s = 0.0;
  double dense_s = 0.0;    // the first layer
  double own_s = 0.0;      // of the second one
  double experts_s = 0.0;  // so
  double wait_s = 0.0;     // in the second layer
  double saving_s = 0.0;
};

Attribution attributed(const std::vector<RankStep>& ranks) {
  Attributor attributor({false, true}, std::ssize(ranks));
  Attribution a;
  a.compute_s = 17.0;  // of a step before
  attributor.begin(a);
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    const RankStep& rank = ranks[r];
    std::array<double, num_phases> phases{};
    const auto of = [&](Phase phase) -> double& { return phases[static_cast<std::size_t>(phase)]; };
    of(Phase::data) = rank.data_s;
    of(Phase::head) = rank.head_s;
    of(Phase::dense) = rank.dense_s;
    of(Phase::attention) = rank.own_s;
    of(Phase::experts) = rank.experts_s;
    of(Phase::wait) = rank.wait_s;
    const std::array layers{rank.dense_s, 0.0, 0.0, rank.own_s, rank.experts_s, rank.wait_s};
    attributor.take(RankId{static_cast<Index>(r)}, {phases, rank.saving_s, layers}, a);
  }
  attributor.finish(a);
  return a;
}

TEST(Attribution, OfAStepThatOneRankHoldsUp) {
  // Rank 1's experts take 3 s more than the others'; of what these wait 0.5 s are the rows' way, which it waits too.
  const RankStep other{.head_s = 1.0, .dense_s = 1.0, .own_s = 2.0, .experts_s = 1.0, .wait_s = 3.5};
  RankStep slow = other;
  slow.experts_s = 4.0;
  slow.wait_s = 0.5;
  const Attribution a = attributed({other, slow, other, other});
  EXPECT_DOUBLE_EQ(a.compute_s, 5.75);
  EXPECT_DOUBLE_EQ(a.imbalance_s, 2.25) << "4 s less the mean of 1.75 s";
  EXPECT_DOUBLE_EQ(a.exposed_s, 0.5);
  EXPECT_DOUBLE_EQ(a.io_s, 0.0);
  EXPECT_DOUBLE_EQ(a.total_s(), 8.5) << "what every rank took";
  EXPECT_EQ(a.slowest, RankId{1});
  EXPECT_DOUBLE_EQ(a.waited_s, 2.25);
  EXPECT_EQ(a.slowest_stretch, stretch_of_experts(0)) << "MoE layers are counted without the first layer";
  ASSERT_EQ(a.layers.size(), 2U);
  EXPECT_DOUBLE_EQ(a.layers[0].compute_s, 1.0);
  EXPECT_DOUBLE_EQ(a.layers[0].imbalance_s, 0.0);
  EXPECT_DOUBLE_EQ(a.layers[1].compute_s, 3.75);
  EXPECT_DOUBLE_EQ(a.layers[1].imbalance_s, 2.25);
  EXPECT_DOUBLE_EQ(a.layers[1].exposed_s, 0.5);
}

TEST(Attribution, DifferentRanksMayBeSlowestInDifferentStretches) {
  // Both compute for 5 s in all, and yet wait for one another: 2 s before the experts, 2 s after them.
  const Attribution a =
      attributed({{.own_s = 4.0, .experts_s = 1.0, .wait_s = 3.0}, {.own_s = 1.0, .experts_s = 4.0, .wait_s = 3.0}});
  EXPECT_DOUBLE_EQ(a.imbalance_s, 3.0) << "1.5 s at either";
  EXPECT_DOUBLE_EQ(a.waited_s, 1.5) << "for one of them";
  EXPECT_DOUBLE_EQ(a.exposed_s, 0.0);
}

TEST(Attribution, NobodyWaitsForMoreThanWasWaited) {
  // Uneven work that communication hid.
  const Attribution a = attributed({{.own_s = 4.0, .wait_s = 0.1}, {.own_s = 1.0, .wait_s = 0.3}});
  EXPECT_DOUBLE_EQ(a.imbalance_s, 0.2);
  EXPECT_DOUBLE_EQ(a.exposed_s, 0.0);
  EXPECT_DOUBLE_EQ(a.layers[1].imbalance_s, 0.2);
}

TEST(Attribution, EvenRanksOnlyCommunicate) {
  const RankStep rank{.head_s = 1.0, .own_s = 1.0, .experts_s = 1.0, .wait_s = 0.25};
  const Attribution a = attributed({rank, rank, rank});
  EXPECT_DOUBLE_EQ(a.imbalance_s, 0.0);
  EXPECT_DOUBLE_EQ(a.exposed_s, 0.25);
  EXPECT_DOUBLE_EQ(a.compute_s, 3.0);
}

TEST(Attribution, FilesAreDataAndSaves) {
  const Attribution a =
      attributed({{.data_s = 0.5, .head_s = 1.0, .saving_s = 2.0}, {.data_s = 0.25, .head_s = 1.0, .wait_s = 0.25}});
  EXPECT_DOUBLE_EQ(a.io_s, 1.375);
  EXPECT_DOUBLE_EQ(a.imbalance_s, 0.125) << "for rank 0, which reads longer";
  EXPECT_EQ(a.slowest, RankId{0});
  EXPECT_EQ(a.slowest_stretch, stretch_of_data);
}

TEST(Attribution, KnowsStretchesOfExperts) {
  EXPECT_EQ(layer_of_experts(stretch_of_data), std::nullopt);
  EXPECT_EQ(layer_of_experts(stretch_outside), std::nullopt);
  for (const Index layer : {0, 1, 7}) {
    EXPECT_EQ(layer_of_experts(stretch_of_own(layer)), std::nullopt);
    EXPECT_EQ(layer_of_experts(stretch_of_experts(layer)), layer);
  }
}

TEST(Attribution, TheFullestExpertOfARankIsByItsShareOfTheClaims) {
  const std::vector<Index> load{10, 90, 60, 5};
  const ExpertMap map = ExpertMap::with_replicas({{RankId{0}}, {RankId{0}, RankId{1}}, {RankId{0}}, {RankId{1}}}, 3);
  EXPECT_EQ(fullest_expert(RankId{0}, map, load), ExpertId{2}) << "60 claims, and half of 90";
  EXPECT_EQ(fullest_expert(RankId{1}, map, load), ExpertId{1});
  EXPECT_EQ(fullest_expert(RankId{2}, map, load), std::nullopt) << "it hosts none";
}

TEST(Attribution, OneRankWaitsForNobody) {
  const Attribution a = attributed({{.head_s = 1.0, .own_s = 2.0, .experts_s = 3.0}});
  EXPECT_DOUBLE_EQ(a.compute_s, 6.0);
  EXPECT_DOUBLE_EQ(a.imbalance_s + a.exposed_s + a.io_s + a.waited_s, 0.0);
}

// --- For whom a run waits ---

constexpr Index groups = 4;

StepRecord record_of(const std::vector<RankStep>& ranks, std::vector<Index> load) {
  StepRecord record;
  record.seconds = 10.0;
  record.attribution = attributed(ranks);
  record.layers.resize(1);
  record.layers[0].load = std::move(load);
  return record;
}

std::string sentence_of(const std::vector<StepRecord>& steps, const ExpertMap& map) {
  Waiting waiting;
  for (const StepRecord& step : steps) waiting.add(step);
  return waiting.sentence(std::span(&map, 1), groups);
}

// All take as long as the slowest.
std::vector<RankStep> with_waits(std::vector<RankStep> ranks) {
  const auto busy = [](const RankStep& r) { return r.data_s + r.head_s + r.own_s + r.experts_s; };
  double longest_s = 0.0;
  for (const RankStep& r : ranks) longest_s = std::max(longest_s, busy(r));
  for (RankStep& r : ranks) r.wait_s = longest_s - busy(r);
  return ranks;
}

TEST(Waiting, NamesTheExpertWithTheHighLoad) {
  const auto ranks = with_waits({{.own_s = 1.0, .experts_s = 1.0},
                                 {.own_s = 1.0, .experts_s = 8.0},
                                 {.own_s = 1.0, .experts_s = 1.0},
                                 {.own_s = 1.0, .experts_s = 1.0}});
  // Two experts a rank; the mean load is 100.
  const StepRecord step = record_of(ranks, {60, 60, 460, 20, 50, 50, 50, 50});
  EXPECT_EQ(sentence_of({step, step}, ExpertMap::contiguous(8, 4)),
            "52 % of the steps' time waited for rank 1: expert 2 of MoE layer 0 had 4.6 times the mean load");
}

TEST(Waiting, TellsARankWithMoreRowsFromOneThatIsSlow) {
  const auto ranks = with_waits({{.own_s = 1.0, .experts_s = 1.0}, {.own_s = 1.0, .experts_s = 8.0}});
  const std::string slow = sentence_of({record_of(ranks, {100, 100, 100, 100})}, ExpertMap::contiguous(4, 2));
  EXPECT_EQ(
      slow,
      "35 % of the steps' time waited for rank 1: its experts of MoE layer 0 computed 1.8 times as long as the mean "
      "rank's, with 1.0 times the mean load");
  const std::string more =
      sentence_of({record_of(ranks, {20, 180, 180, 180})}, ExpertMap({RankId{0}, RankId{1}, RankId{1}, RankId{1}}, 2));
  EXPECT_EQ(
      more,
      "35 % of the steps' time waited for rank 1: its 3 experts of MoE layer 0 had 1.9 times the mean rank's load");
}

TEST(Waiting, SaysWhenARankHasMoreGroupsOrIsSlowWithAsMany) {
  const auto ranks = with_waits({{.own_s = 6.0}, {.own_s = 3.0}, {.own_s = 3.0}});
  EXPECT_EQ(sentence_of({record_of(ranks, {1, 1, 1})}, ExpertMap::contiguous(3, 3)),
            "20 % of the steps' time waited for rank 0: it has 2 of the 4 groups of a pass, the mean rank 1.3");
  const auto two = with_waits({{.own_s = 2.0}, {.own_s = 8.0}});
  EXPECT_EQ(sentence_of({record_of(two, {1, 1})}, ExpertMap::contiguous(2, 2)),
            "30 % of the steps' time waited for rank 1: in MoE layer 0 it computed 1.6 times as long as the mean rank, "
            "with 2 of the 4 groups of a pass");
  const auto reads = with_waits({{.data_s = 6.0}, {.data_s = 0.0}});
  EXPECT_EQ(sentence_of({record_of(reads, {1, 1})}, ExpertMap::contiguous(2, 2)),
            "30 % of the steps' time waited for rank 0: it read data for 2.0 times as long as the mean rank");
}

TEST(Waiting, NamesNobodyWhereRanksAreEvenOrTakeTurns) {
  const RankStep fast{.own_s = 1.0, .experts_s = 1.0};
  const RankStep slow{.own_s = 1.0, .experts_s = 8.0};
  const ExpertMap map = ExpertMap::contiguous(2, 2);
  EXPECT_EQ(sentence_of({}, map), "");
  EXPECT_EQ(sentence_of({record_of(with_waits({fast, fast}), {5, 5})}, map), "");
  const StepRecord one = record_of(with_waits({slow, fast}), {5, 5});
  const StepRecord other = record_of(with_waits({fast, slow}), {5, 5});
  EXPECT_NE(sentence_of({one}, map), "");
  EXPECT_NEAR(one.attribution.imbalance_s, 3.5, 1e-12) << "each of them was waited for";
  EXPECT_EQ(sentence_of({one, other}, map), "") << "but none more than the other";
}

TEST(Waiting, ForgetsWhatWasBeforeExpertsMoved) {
  Waiting waiting;
  waiting.add(record_of(with_waits({{.experts_s = 1.0}, {.experts_s = 9.0}}), {1, 9}));
  const ExpertMap map = ExpertMap::contiguous(2, 2);
  EXPECT_NE(waiting.sentence(std::span(&map, 1), groups), "");
  waiting.clear();
  EXPECT_EQ(waiting.sentence(std::span(&map, 1), groups), "");
}

}  // namespace
}  // namespace conclave::train
