// SPDX-License-Identifier: BSD-3-Clause
// Two runs in one folder: the second is refused, or, if it is a later start of the same job, the first ends.
#include "tests/apps/program.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <future>
#include <thread>

namespace conclave {
namespace {

using test::count;
using test::digest_of;
using test::on_ranks;
using test::Outcome;
using train::TemporaryFolder;

const std::string tiny =
    "train --layers 1 --width 24 --heads 2 --context 8 --experts 3 --expert-hidden 16 --sequences 6 --groups 3 "
    "--eval-every 0 --checkpoint-every 20 ";
// How a job's processes find themselves in SLURM, whose commands are not here. The end is far off.
const std::string in_job = "env SLURM_JOB_ID=71 SLURM_JOB_END_TIME=4000000000 timeout 100 " CONCLAVE_PROGRAM " ";

void wait_for(const std::string& file) {
  for (int i = 0; i < 600 && !std::filesystem::exists(file); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
}

TEST(FolderLock, refuses_a_second_run_and_leaves_the_first_alone) {
  const TemporaryFolder folder;
  const std::string out = folder.path("run");
  auto first = std::async(std::launch::async, [&] {
    return on_ranks(2, CONCLAVE_PROGRAM, tiny + "--steps 1000000 --time-limit 25 --time-margin 1 --out " + out);
  });
  wait_for(out + "/latest");
  const Outcome second = on_ranks(3, CONCLAVE_PROGRAM, tiny + "--resume auto --steps 1000000 --out " + out);
  EXPECT_EQ(second.exit_code, 1) << second.output;
  EXPECT_EQ(count(second.output, "is in use by process"), 2) << second.output;
  EXPECT_EQ(count(second.output, "wait until that run has ended"), 1) << second.output;
  const Outcome outcome = first.get();
  EXPECT_EQ(outcome.exit_code, 75) << outcome.output;
}

TEST(FolderLock, ends_the_earlier_start_of_a_job_that_was_started_again) {
  const TemporaryFolder folder;
  const std::string out = folder.path("run");
  const std::string endless = in_job + tiny + "--steps 1000000 --out " + out;
  auto stale = std::async(std::launch::async, [&] { return test::run(endless); });
  wait_for(out + "/latest");
  // How far the stale one comes until it notices, nobody knows.
  const Outcome successor =
      test::run(in_job + tiny + "--resume auto --steps 1000000 --time-limit 8 --time-margin 1 --out " + out);
  ASSERT_EQ(successor.exit_code, 75) << successor.output;
  EXPECT_EQ(count(successor.output, "over from an earlier start of the same job"), 1) << successor.output;
  const Index step = test::stopped_step(successor.output, "its time limit");
  ASSERT_GT(step, 0) << successor.output;
  const Outcome outcome = stale.get();
  EXPECT_EQ(outcome.exit_code, 1) << outcome.output;
  EXPECT_EQ(count(outcome.output, "has been taken over by process"), 1) << outcome.output;
  ASSERT_EQ(test::conclave(fmt::format("{} --steps 1000000 --stop-after {} --out {}", tiny, step, folder.path("whole")))
                .exit_code,
            0);
  EXPECT_EQ(digest_of(out), digest_of(folder.path("whole")));
}

}  // namespace
}  // namespace conclave
