// SPDX-License-Identifier: BSD-3-Clause
// A process that writes a log is killed at random instants, most of them within a flush.
#include "runtime/train/run_log.hpp"

#include "tests/train/run_log_fixture.hpp"

#include <csignal>
#include <thread>

#include <sys/wait.h>
#include <unistd.h>

namespace conclave::train {
namespace {

/// Appends steps after `first` without end, and says after each flush which step it reached.
[[noreturn]] void write_for_ever(const std::filesystem::path& folder, Index first, int say) {
  try {
    RunLog log(folder, first, {{"seed", "1"}}, {});
    for (Index step = first + 1;; ++step) {
      append(log, step);
      if (step % 2 == 0) continue;
      log.flush();
      if (::write(say, &step, sizeof step) != sizeof step) ::_exit(1);
    }
  } catch (const std::exception&) {
    ::_exit(1);
  }
}

/// The last step that a writer had flushed when it was killed `microseconds` after its first flush.
Index last_flushed(const std::filesystem::path& folder, Index first, Index microseconds) {
  int pipe[2];
  EXPECT_EQ(::pipe(pipe), 0);
  const pid_t writer = ::fork();
  if (writer == 0) {
    ::close(pipe[0]);
    write_for_ever(folder, first, pipe[1]);
  }
  ::close(pipe[1]);
  Index last = 0;
  EXPECT_EQ(::read(pipe[0], &last, sizeof last), static_cast<ssize_t>(sizeof last)) << "the writer failed";
  std::this_thread::sleep_for(std::chrono::microseconds(microseconds));
  ::kill(writer, SIGKILL);
  int status = 0;
  EXPECT_EQ(::waitpid(writer, &status, 0), writer);
  EXPECT_TRUE(WIFSIGNALED(status)) << "the writer ended by itself";
  while (::read(pipe[0], &last, sizeof last) == sizeof last) {
  }
  ::close(pipe[0]);
  return last;
}

TEST_F(RunLogTest, AKilledWriterLeavesAWholeFileAndIsResumed) {
  const Random random(5, RandomStream::initial);
  Index reached = 0;
  Index rounds_with_flushes = 0;
  for (Index round = 0; round < 25; ++round) {
    const Index flushed = last_flushed(folder(), reached, random.bits(round, 0) % 20'000);
    ASSERT_GT(flushed, reached);
    if (flushed > reached + 1) ++rounds_with_flushes;
    // The file may hold one more flush, which was not yet said.
    const std::vector<Index> steps = Hdf5File::open(h5()).read<Index>("/steps/step");
    ASSERT_GE(std::ssize(steps), flushed);
    ASSERT_LE(std::ssize(steps), flushed + 2);
    expect_run_file(h5(), 1, std::ssize(steps));
    if (HasFailure()) return;
    const std::string lines = content_of(jsonl());
    ASSERT_TRUE(lines.starts_with(expected_lines(flushed)));
    // The next writer begins at a checkpoint some steps before.
    reached = std::max<Index>(1, flushed - random.bits(round, 1) % 5);
    ASSERT_TRUE(RunLog(folder(), reached, {}, {}).notices().empty());
  }
  EXPECT_GT(rounds_with_flushes, 10);
  EXPECT_EQ(log_steps(reached, reached + 3), std::vector<std::string>{});
  expect_run_file(h5(), 1, reached + 3);
  EXPECT_EQ(content_of(jsonl()), expected_lines(reached + 3));
  EXPECT_EQ(listing(), (std::vector<std::string>{"metrics.jsonl", "run.h5"}));
}

}  // namespace
}  // namespace conclave::train
