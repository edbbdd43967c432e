// SPDX-License-Identifier: BSD-3-Clause
// A run that is followed while its log grows, is cut, and is replaced.
#include "apps/run_follower.hpp"

#include "runtime/train/folder_lock.hpp"
#include "tests/train/run_log_fixture.hpp"

#include <gmock/gmock.h>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

namespace conclave::apps {
namespace {

using testing::HasSubstr;
using testing::Not;

class RunFollowerTest : public testing::Test {
 protected:
  void add(const std::string& text) const { std::ofstream(path(), std::ios::app | std::ios::binary) << text; }
  void add_steps(Index first, Index last) const {
    for (Index step = first; step <= last; ++step) add(train::to_json(train::some_step(step)) + '\n');
  }
  [[nodiscard]] std::string path() const { return folder_.path("metrics.jsonl"); }

  train::TemporaryFolder folder_;
  RunFollower follower_{folder_.path()};
};

TEST_F(RunFollowerTest, SeesWhatIsAdded) {
  EXPECT_EQ(follower_.look().step, 0) << "there is no log yet";
  folder_.write("config.ini", "# a run\nsteps = 40\nseed = 1\n");
  add_steps(1, 4);
  add(train::to_json(train::some_evaluation(4)) + '\n');
  const WatchedRun& run = follower_.look();
  EXPECT_EQ(run.step, 4);
  EXPECT_EQ(run.steps, 40);
  EXPECT_EQ(run.loss, train::some_step(4).loss);
  EXPECT_EQ(run.held_out_loss, train::some_evaluation(4).loss);
  EXPECT_EQ(run.held_out_step, 4);
  EXPECT_EQ(run.skipped, 1) << "step 3";
  EXPECT_EQ(run.curve_steps, (std::vector<Index>{1, 2, 4}));
  double tokens = 0.0;
  double seconds = 0.0;
  double claims = 0.0;
  double dropped = 0.0;
  for (const Index step : {1, 2, 4}) {
    const train::StepRecord record = train::some_step(step);
    tokens += static_cast<double>(record.tokens);
    seconds += record.seconds;
    for (const model::LayerStatistics& layer : record.layers) {
      claims += static_cast<double>(layer.claims());
      dropped += static_cast<double>(layer.over_capacity + layer.refused_second);
    }
  }
  EXPECT_NEAR(run.tokens_per_s, tokens / seconds, 1e-9 * tokens / seconds);
  EXPECT_NEAR(run.step_s, seconds / 3.0, 1e-12);
  EXPECT_NEAR(run.drop_rate, dropped / claims, 1e-12);
  EXPECT_EQ(run.saved, std::nullopt);
  folder_.write("step-00000004.h5", "");
  add_steps(5, 6);
  follower_.look();
  EXPECT_EQ(run.step, 6);
  EXPECT_EQ(run.saved, 4);
  EXPECT_EQ(run.curve,
            (std::vector<double>{train::some_step(1).loss, train::some_step(2).loss, train::some_step(4).loss,
                                 train::some_step(5).loss, train::some_step(6).loss}));
}

TEST_F(RunFollowerTest, LeavesALineThatIsNotFinished) {
  add_steps(1, 2);
  const std::string line = train::to_json(train::some_step(4)) + '\n';
  add(line.substr(0, 40));
  EXPECT_EQ(follower_.look().step, 2);
  EXPECT_EQ(follower_.look().step, 2);
  add(line.substr(40, 100));
  EXPECT_EQ(follower_.look().step, 2);
  add(line.substr(140));
  EXPECT_EQ(follower_.look().step, 4);
}

TEST_F(RunFollowerTest, PassesOverWhatIsNoRecord) {
  add_steps(1, 1);
  add("\n{\n[1, 2]\nnull\n{\"kind\":\"step\"}\n{\"kind\":7,\"step\":9}\n{\"kind\":\"step\",\"step\":\"5\"}\n"
      "{\"kind\":\"step\",\"step\":2,\"loss\":null,\"layers\":[3,{\"load\":[\"x\"]}]}\n");
  const WatchedRun& run = follower_.look();
  EXPECT_EQ(run.step, 2);
  EXPECT_EQ(run.loss, std::nullopt);
  EXPECT_THAT(status_line(run), HasSubstr("loss not finite"));
}

TEST_F(RunFollowerTest, ReadsALogAnewThatWasCut) {
  add_steps(1, 20);
  EXPECT_EQ(follower_.look().step, 20);
  std::filesystem::remove(path());
  add_steps(1, 8);
  EXPECT_EQ(follower_.look().step, 8);
  EXPECT_EQ(follower_.look().curve_steps.back(), 8);
  // Cut, and grown beyond what was read before the next look.
  std::filesystem::resize_file(path(), 0);
  add_steps(1, 2);
  for (Index step = 3; step <= 30; ++step) {
    train::StepRecord record = train::some_step(step);
    record.loss += 1.0;
    record.skipped.clear();
    add(train::to_json(record) + '\n');
  }
  const WatchedRun& run = follower_.look();
  EXPECT_EQ(run.step, 30);
  EXPECT_EQ(run.curve.size(), 30U);
  EXPECT_EQ(run.curve[6], train::some_step(7).loss + 1.0) << "of the later future";
}

TEST_F(RunFollowerTest, GoesBackWithTheRun) {
  add_steps(1, 9);
  add_steps(5, 6);
  const WatchedRun& run = follower_.look();
  EXPECT_EQ(run.step, 6);
  EXPECT_EQ(run.curve_steps, (std::vector<Index>{1, 2, 4, 5, 6}));
}

TEST_F(RunFollowerTest, ReadsTheEndOfALongLogOnly) {
  add_steps(1, 200);
  const auto line = std::ssize(train::to_json(train::some_step(200)));
  RunFollower follower(folder_.path(), 10 * line);
  const WatchedRun& run = follower.look();
  EXPECT_EQ(run.step, 200);
  EXPECT_GT(run.curve_steps.front(), 180);
  EXPECT_GT(run.curve_steps.size(), 4U);
  const Index first = run.curve_steps.front();
  add_steps(201, 201);
  EXPECT_EQ(follower.look().step, 201);
  EXPECT_EQ(run.curve_steps.front(), first);
}

TEST_F(RunFollowerTest, DisturbsNothing) {
  add_steps(1, 5);
  const int id = ::open(path().c_str(), O_RDWR);
  ASSERT_GE(id, 0);
  ASSERT_EQ(::flock(id, LOCK_EX), 0) << "as a writer would hold it";
  const auto before = std::filesystem::last_write_time(path());
  EXPECT_EQ(follower_.look().step, 5);
  EXPECT_EQ(std::filesystem::last_write_time(path()), before);
  ::close(id);
  Index files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder_.path())) ++files;
  EXPECT_EQ(files, 1);
}

TEST_F(RunFollowerTest, KnowsWhetherTheProcessStillRuns) {
  EXPECT_EQ(follower_.look().process_runs, std::nullopt);
  {
    train::FolderLock lock("", [](const std::string&) {});
    lock.take(folder_.path());
    EXPECT_EQ(follower_.look().process_runs, true);
  }
  std::string content = test::content_of(folder_.path("run.lock"));
  const std::string own = fmt::format("process {} on ", ::getpid());
  ASSERT_THAT(content, HasSubstr(own));
  folder_.write("run.lock", "process 2147483647 on " + content.substr(own.size()));
  EXPECT_EQ(follower_.look().process_runs, false) << "no system has such a number";
  folder_.write("run.lock", own + "another-host, since 2026-01-01 00:00:00 UTC\n");
  EXPECT_EQ(follower_.look().process_runs, std::nullopt) << "not from here";
  for (const char* odd : {"", "process", "process x on y", "process -1 on y, since", "\n\n"}) {
    folder_.write("run.lock", odd);
    EXPECT_EQ(follower_.look().process_runs, std::nullopt) << odd;
  }
}

TEST(StatusText, SaysAll) {
  WatchedRun run{.folder = "runs/a",
                 .step = 50,
                 .steps = 150,
                 .loss = 2.5,
                 .held_out_loss = 2.25,
                 .held_out_step = 40,
                 .tokens_per_s = 1234.4,
                 .step_s = 2.0,
                 .drop_rate = 0.0125,
                 .saved = 25,
                 .curve_steps = {49, 50},
                 .curve = {3.0, 2.5}};
  EXPECT_EQ(status_line(run),
            "step 50/150  loss 2.5000  held out 2.2500 (step 40)  1234 tokens/s  dropped 1.2 %  saved step 25  "
            "about 3 min 20 s left");
  const std::vector<std::string> lines = status_lines(run, 80);
  EXPECT_THAT(lines, testing::Contains(HasSubstr("50/150, 33.3 %")));
  EXPECT_THAT(lines.back(), HasSubstr("\u2588\u2581")) << "down";
  run.steps = std::nullopt;
  EXPECT_THAT(status_line(run), Not(HasSubstr("left")));
  EXPECT_EQ(status_line({}), "no step is logged yet");
}

}  // namespace
}  // namespace conclave::apps
