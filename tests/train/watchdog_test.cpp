// SPDX-License-Identifier: BSD-3-Clause
// What is told of ranks that wait, and that ranks which work together pass the same places.
#include "runtime/train/watchdog.hpp"

#include "runtime/core/trace.hpp"
#include "runtime/train/trainer.hpp"
#include "tests/support/mpi_world.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

namespace conclave::train {
namespace {

using test::world;

WatchedRank watched(Index rank, Index passed, Phase phase, bool waits, const std::string& process = "") {
  WatchedRank r{RankId{rank}, {}, process};
  r.place = {.passed = passed,
             .activity = Activity::training,
             .step = 16,
             .layer = 5,
             .phase = phase,
             .waits = waits,
             .age_s = 31.4};
  return r;
}

TEST(HangReport, NamesWhoWaitsForWhomAndWhereTheseAre) {
  const std::vector<WatchedRank> node{watched(0, 90, Phase::experts, false),
                                      watched(2, 90, Phase::gate, false, "process 7 is stopped"),
                                      watched(3, 100, Phase::combine, true)};
  const std::vector<std::string> lines = hang_report(RankId{3}, 31.4, node, {}, 3);
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[0], "no progress for 31 s: rank 3 waits in combine of layer 5, step 17 for ranks 0, 2");
  EXPECT_EQ(lines[1], "rank 0 keeps it waiting: last seen in experts of layer 5, step 17, for 31 s");
  EXPECT_EQ(lines[2],
            "rank 2 keeps it waiting: last seen in gate of layer 5, step 17, for 31 s; its process 7 is stopped");
}

TEST(HangReport, ARankThatIsStoppedInTheSamePlaceIsNamed) {
  const std::vector<WatchedRank> node{watched(0, 90, Phase::combine, false),
                                      watched(1, 90, Phase::combine, false, "process 7 is stopped")};
  const std::vector<std::string> lines = hang_report(RankId{0}, 5.0, node, {}, 2);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0], "no progress for 5 s: rank 0 waits in combine of layer 5, step 17 for rank 1");
}

TEST(HangReport, ARankBehindOnAnotherNodeIsNamedByWhatThatNodeWrote) {
  const std::vector<WatchedRank> node{watched(0, 90, Phase::combine, true), watched(1, 90, Phase::combine, true)};
  const std::vector<WatchedRank> other{watched(2, 90, Phase::combine, true), watched(3, 80, Phase::gate, false)};
  EXPECT_FALSE(names_somebody(RankId{1}, node));
  EXPECT_TRUE(names_somebody(RankId{2}, other));
  const std::vector<std::string> lines = hang_report(RankId{1}, 5.0, node, told_in(state_text(other)), 4);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0], "no progress for 5 s: rank 1 waits in combine of layer 5, step 17 for rank 3");
  EXPECT_EQ(lines[1], "rank 3 keeps it waiting: last seen in gate of layer 5, step 17, for 31 s");
}

TEST(HangReport, WhereNobodyIsBehindThoseAreNamedThatDoNotTell) {
  const std::vector<WatchedRank> node{watched(0, 90, Phase::combine, true), watched(1, 90, Phase::combine, true)};
  const std::vector<WatchedRank> other{watched(3, 90, Phase::combine, true)};
  std::vector<std::string> lines = hang_report(RankId{1}, 5.0, node, told_in(state_text(other)), 5);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_TRUE(lines[0].ends_with("step 17 for ranks 2, 4")) << lines[0];
  EXPECT_TRUE(lines[1].starts_with("ranks 2, 4 did not tell where")) << lines[1];
  lines = hang_report(RankId{1}, 5.0, node,
                      told_in(state_text(other) + state_text({{watched(2, 90, Phase::gate, true)}})), 4);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_NE(lines[0].find("a message that got lost"), std::string::npos) << lines[0];
}

TEST(HangReport, ReadsOfAStateOnlyTheLinesOfRanks) {
  const std::vector<WatchedRank> node{watched(4, 90, Phase::gate, false, "process 7 is stopped")};
  const std::vector<ToldRank> told = told_in("start 1-2\nrank 5 has told nothing\n" + state_text(node) +
                                             "rank 99999999999999999999 is in x; 1 places passed\n");
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].rank, RankId{4});
  EXPECT_EQ(told[0].passed, 90);
  EXPECT_EQ(told[0].place, "gate of layer 5, step 17, for 31 s; its process 7 is stopped");
}

TEST(Place, ReadsAsAPersonWouldSayIt) {
  EXPECT_EQ(Place{}.text(), "starting");
  EXPECT_EQ((Place{.activity = Activity::saving, .step = 500}).text(), "saving after step 500");
  EXPECT_EQ((Place{.activity = Activity::training, .step = 0, .phase = Phase::optimizer}).text(), "optimizer, step 1");
}

TEST(Watchdog, RanksPassTheSamePlacesEmptyOnesToo) {
  const TemporaryFolder folder;
  TrainOptions o;
  o.model.layers = 2;
  o.model.width = 16;
  o.model.heads = 2;
  o.model.context = 8;
  o.model.router.experts = 2;
  o.model.experts.expert_hidden = {8};
  o.sequences = 2;
  o.groups = 2;
  o.steps = 3;
  o.eval_sequences = 4;
  o.out = folder.path();
  const auto dataset = make_samples(o);
  Trainer trainer(o, *dataset, world());
  Whereabouts whereabouts;
  trainer.note_in(&whereabouts);
  for (Index i = 0; i < o.steps; ++i) static_cast<void>(trainer.step());
  static_cast<void>(trainer.evaluate());
  const Index passed = whereabouts.read().passed;
  EXPECT_GT(passed, 100);
  EXPECT_EQ(world().max(passed), world().min(passed));
}

TEST(Watchdog, LivesAndEndsQuietlyWhileRanksMove) {
  const TemporaryFolder folder;
  Watchdog watchdog(world(), {.hang_timeout_s = 1.0, .folder = folder.path(), .who = "test"});
  watchdog.saved("step-00000001.h5");
  for (int i = 0; i < 30; ++i) {
    watchdog.whereabouts().begin(Activity::training, i);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace conclave::train
