// SPDX-License-Identifier: BSD-3-Clause
// A checkpoint that is written while its tensors already change is that of the moment it began.
#include "runtime/train/async_checkpoint.hpp"
#include "runtime/train/save_interval.hpp"
#include "tests/train/checkpoint_fixture.hpp"
#include "tests/train/file_size_limit.hpp"

#include <cmath>
#include <thread>

namespace conclave::train {
namespace {

using namespace testing_support;

class AsyncCheckpointTest : public CheckpointTest {
 protected:
  void begin(AsyncCheckpoint& async, Index step, Parts& parts, const Retention& retention = {}) {
    async.begin(folder_, step, retention, some_header(step), parts.parts);
    // The run goes on.
    for (std::vector<float>& memory : parts.memory) std::fill(memory.begin(), memory.end(), -2.0F);
  }
  // As a run does it, between steps.
  static fs::path finished(AsyncCheckpoint& async) {
    std::optional<fs::path> file;
    Index stages = 0;
    while (!(file = async.advance())) {
      EXPECT_TRUE(async.is_on_its_way());
      ++stages;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_GE(stages, 2) << "it is made, written, and completed";
    return *file;
  }
};

TEST_F(AsyncCheckpointTest, HasTheBytesOfOneThatTheRunWaitsFor) {
  const std::string expected = content_of(write(7));
  ASSERT_GT(expected.size(), 2000U);
  world_.barrier();
  if (world_.is_root()) fs::remove(folder_ / "step-00000007.h5");
  AsyncCheckpoint async(world_);
  for (const Index salt : {0, 5}) {  // the second time in the memory of the first
    Parts parts = filled_parts(world_, salt);
    begin(async, 7, parts);
    EXPECT_TRUE(async.is_on_its_way());
    const fs::path file = salt == 0 ? async.finish() : finished(async);
    EXPECT_FALSE(async.is_on_its_way());
    EXPECT_EQ(file.filename(), "step-00000007.h5");
    EXPECT_EQ(content_of(file), expected);
    EXPECT_EQ(newest_checkpoint(world_, folder_).file, file);
    EXPECT_EQ(listing(), "step-00000007.h5 ");
  }
}

TEST_F(AsyncCheckpointTest, LargeTensorsAreWrittenAndReadBackInPieces) {
  const std::vector<Described> large{{"/params/large", {(Index{9} << 18) + 5}}, {"/params/small", {3}}};
  Parts parts = uneven_parts(world_, large, 2);
  parts.fill();
  const std::string expected = content_of(write_checkpoint(world_, folder_, 4, {}, some_header(4), parts.parts));
  ASSERT_GT(expected.size(), std::size_t{9} << 20) << "more than is written before the disk begins";
  AsyncCheckpoint async(world_);
  begin(async, 4, parts);
  const fs::path file = async.finish();
  EXPECT_TRUE(content_of(file) == expected);
  Parts read = uneven_parts(world_, large, 7);
  read_tensors(world_, file, read.parts);
  read.expect_filled();
}

TEST_F(AsyncCheckpointTest, IsWrittenWithoutTheMainThread) {
  AsyncCheckpoint async(world_);
  Parts parts = filled_parts(world_);
  begin(async, 3, parts);
  while (listing().empty()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_EQ(listing(), ".step-00000003.h5.partial ") << "it has no name before all ranks have agreed";
  expect_readable(finished(async));
}

TEST_F(AsyncCheckpointTest, OneThatIsNotFinishedIsNone) {
  const fs::path earlier = write(1);
  {
    AsyncCheckpoint async(world_);
    Parts parts = filled_parts(world_);
    begin(async, 2, parts);
  }
  EXPECT_EQ(newest_checkpoint(world_, folder_).file, earlier);
  expect_readable(earlier);
  expect_readable(write(3));
  EXPECT_EQ(listing(), "step-00000001.h5 step-00000003.h5 ");
}

TEST_F(AsyncCheckpointTest, AHelperThatFailsFailsEveryRank) {
  const fs::path earlier = write(1);
  AsyncCheckpoint async(world_);
  Parts parts = filled_parts(world_);
  begin(async, 2, parts, {.last = 2});
  (void)finished(async);
  // Room for the structure, none for this rank's values.
  Parts large;
  constexpr Index size = 1 << 20;
  large.add({"/params/large", {size}}, even_share(size, world_.size(), world_.rank().value()));
  large.fill();
  {
    std::optional<FileSizeLimit> limit;
    if (world_.rank().value() == world_.size() - 1) limit.emplace(200'000);
    const Failure failure = failure_everywhere([&] {
      begin(async, 3, large, {.last = 2});
      (void)async.finish();
    });
    EXPECT_NE(failure.message.find("cannot write checkpoint"), std::string::npos) << failure.message;
    EXPECT_NE(failure.message.find("File too large"), std::string::npos) << failure.message;
  }
  EXPECT_FALSE(async.is_on_its_way());
  EXPECT_EQ(listing(), "step-00000001.h5 step-00000002.h5 ");
  expect_readable(earlier);
  large.fill();
  begin(async, 4, large, {.last = 2});
  EXPECT_EQ(async.finish().filename(), "step-00000004.h5");
  EXPECT_EQ(listing(), "step-00000002.h5 step-00000004.h5 ");
}

TEST_F(AsyncCheckpointTest, AFileThatCannotBeMadeFailsEveryRankAfterwards) {
  const fs::path earlier = write(1);
  const fs::path taken = folder_ / ".step-00000002.h5.partial";
  if (world_.is_root()) {
    fs::create_directory(taken);
    overwrite(taken / "file", "mine");
  }
  world_.barrier();
  AsyncCheckpoint async(world_);
  for (const bool waits : {false, true}) {
    Parts parts = filled_parts(world_);
    begin(async, 2, parts);
    EXPECT_TRUE(async.is_on_its_way()) << "the run does not wait for the file";
    const Failure failure = failure_everywhere([&] { (void)(waits ? async.finish() : finished(async)); });
    EXPECT_NE(failure.message.find("cannot write checkpoint"), std::string::npos) << failure.message;
    EXPECT_FALSE(async.is_on_its_way());
  }
  EXPECT_EQ(listing(), ".step-00000002.h5.partial step-00000001.h5 ");
  expect_readable(earlier);
  Parts parts = filled_parts(world_);
  begin(async, 3, parts);
  expect_readable(async.finish());
}

TEST_F(AsyncCheckpointTest, AFileThatCannotBeMadeLeavesNothing) {
  const fs::path earlier = write(1);
  AsyncCheckpoint async(world_);
  {
    std::optional<FileSizeLimit> limit;
    if (world_.is_root()) limit.emplace(2000);  // fewer bytes than the structure has
    Parts parts = filled_parts(world_);
    begin(async, 2, parts);
    const Failure failure = failure_everywhere([&] { (void)finished(async); });
    EXPECT_NE(failure.message.find("File too large"), std::string::npos) << failure.message;
  }
  EXPECT_EQ(listing(), "step-00000001.h5 ");
  expect_readable(earlier);
}

TEST_F(AsyncCheckpointTest, GoesAtAnyStage) {
  for (const Index num_advances : {0, 1, 2, 3}) {
    AsyncCheckpoint async(world_);
    Parts parts = filled_parts(world_);
    begin(async, 2, parts);
    for (Index i = 0; i < num_advances && async.is_on_its_way(); ++i) (void)async.advance();
  }
  world_.barrier();
  expect_readable(write(3));
}

TEST(SaveInterval, LosesLeast) {
  EXPECT_EQ(young_interval(2.0, 3600.0, 0.5), 240);  // sqrt(2 x 2 s x 3600 s) = 120 s
  EXPECT_EQ(young_interval(0.0, 3600.0, 0.5), 1);
  EXPECT_EQ(young_interval(5000.0, 3600.0, 0.5), 7200) << "never longer than the time between failures";
  EXPECT_EQ(young_interval(1.0, 10.0, 1e6), 1);
  // Share of time lost by saves, and by steps done again: half an interval a failure.
  const double cost_s = 3.0, mtbf_s = 7200.0, step_s = 1.3;
  const auto lost = [&](Index steps) {
    const double interval_s = static_cast<double>(steps) * step_s;
    return cost_s / interval_s + interval_s / (2.0 * mtbf_s);
  };
  const Index best = young_interval(cost_s, mtbf_s, step_s);
  EXPECT_GT(best, 2);
  EXPECT_LE(lost(best), lost(best - 1));
  EXPECT_LE(lost(best), lost(best + 1));
}

}  // namespace
}  // namespace conclave::train
