// SPDX-License-Identifier: BSD-3-Clause
// Runs that are told to stop, or whose time is up: they save, end with 75 on every rank, and go on with the same bits.
#include "tests/apps/program.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <future>
#include <random>
#include <thread>

namespace conclave {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using test::conclave;
using test::content_of;
using test::count;
using test::digest_of;
using test::on_ranks;
using test::Outcome;
using test::stopped_step;
using train::TemporaryFolder;

const std::string evaluated =
    "train --steps 1000000 --layers 2 --width 40 --heads 2 --context 12 --experts 5 --expert-hidden 48 --sequences 10 "
    "--groups 5 --eval-sequences 7 --checkpoint-every 0 ";
const std::string tiny = evaluated + "--eval-every 0 ";
constexpr int stopped = 75;

// The process that is rank `rank` of the run into `out`; 0: there is none (yet).
pid_t process_of(const std::string& out, Index rank) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    if (!fs::equivalent(entry.path() / "exe", CONCLAVE_PROGRAM, ignored)) continue;
    const std::string rank_variable = fmt::format("OMPI_COMM_WORLD_RANK={}", rank) + '\0';
    if (content_of(entry.path() / "cmdline").find(out) == std::string::npos) continue;
    if (content_of(entry.path() / "environ").find(rank_variable) != std::string::npos) return std::stoi(name);
  }
  return 0;
}

// Goes two steps on from where a run was cut, on other ranks, and compares with a run that was not.
void expect_same_bits_when_resumed(const TemporaryFolder& folder, const std::string& out, Index step, Index ranks) {
  const std::string two_more = fmt::format(" --stop-after {} ", step + 2);
  const Outcome resumed = on_ranks(ranks, CONCLAVE_PROGRAM, "train --resume " + out + two_more);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  ASSERT_EQ(count(resumed.output, fmt::format("after step {}\n", step)), 1) << resumed.output;
  const std::string whole = folder.path("whole" + std::to_string(ranks));
  const Outcome uninterrupted = conclave(tiny + two_more + "--out " + whole);
  ASSERT_EQ(uninterrupted.exit_code, 0) << uninterrupted.output;
  EXPECT_EQ(digest_of(out), digest_of(whole));
  EXPECT_EQ(digest_of(out).size(), 16U);
}

// Signals one rank at a random moment of a run. A rank leaves its exit code in a file.
class SignalledRun : public testing::TestWithParam<Index> {
 protected:
  Outcome signalled(Index rank, int signal) {
    folder_.write("rank.sh",
                  "trap '' TERM\n\"${@:2}\"\ncode=$?\necho $code >$1/exit.$OMPI_COMM_WORLD_RANK\nexit $code\n");
    auto run = std::async(std::launch::async, [&] {
      return on_ranks(
          GetParam(), "bash",
          fmt::format("{} {} {} {}--out {}", folder_.path("rank.sh"), folder_.path(), CONCLAVE_PROGRAM, tiny, out_));
    });
    const auto is_over = [&] { return run.wait_for(milliseconds(10)) == std::future_status::ready; };
    while (!fs::exists(out_ + "/config.ini") && !is_over()) {
    }
    std::random_device random;
    const milliseconds moment(random() % 700);
    std::this_thread::sleep_for(moment);
    const pid_t process = process_of(out_, rank);
    EXPECT_GT(process, 0) << "no rank " << rank;
    if (process > 0) ::kill(process, signal);
    Outcome outcome = run.get();
    outcome.output += fmt::format("\n(signal {} came {} ms after the start)\n", signal, moment.count());
    return outcome;
  }

  TemporaryFolder folder_{std::to_string(GetParam())};
  const std::string out_ = folder_.path("run");
};

TEST_P(SignalledRun, saves_ends_with_75_and_goes_on_with_the_same_bits) {
  const Index ranks = GetParam();
  const std::pair<int, const char*> signals[] = {{SIGUSR1, "SIGUSR1"}, {SIGTERM, "SIGTERM"}, {SIGUSR2, "SIGUSR2"}};
  const auto& [signal, name] = signals[ranks % 3];
  const Index rank = ranks - 1;
  const Outcome outcome = signalled(rank, signal);
  EXPECT_EQ(outcome.exit_code, stopped) << outcome.output;
  for (Index r = 0; r < ranks; ++r) {
    EXPECT_EQ(content_of(folder_.path(fmt::format("exit.{}", r))), "75\n") << "rank " << r << outcome.output;
  }
  const Index step = stopped_step(outcome.output, fmt::format("{} at rank {}", name, rank));
  ASSERT_GT(step, 0) << outcome.output;
  const std::string file = fmt::format("{}/step-{:08}.h5", out_, step);
  EXPECT_EQ(count(outcome.output, fmt::format("saved {}; go on with --resume {}\n", file, out_)), 1) << outcome.output;
  EXPECT_EQ(count(content_of(out_ + "/metrics.jsonl"), "\"kind\":\"step\""), step);
  expect_same_bits_when_resumed(folder_, out_, step, ranks % 3 + 1);
}

// Whether a process has begun to keep SIGUSR1.
bool keeps_signals(pid_t process) {
  const std::string status = content_of(fmt::format("/proc/{}/status", process));
  const auto at = status.find("SigCgt:\t");
  return at != std::string::npos && (std::stoull(status.substr(at + 8), nullptr, 16) >> (SIGUSR1 - 1)) % 2 == 1;
}

// Before MPI_Init or in it.
TEST_P(SignalledRun, hears_a_signal_of_its_first_moment) {
  const Index rank = GetParam() - 1;
  auto run =
      std::async(std::launch::async, [&] { return on_ranks(GetParam(), CONCLAVE_PROGRAM, tiny + "--out " + out_); });
  pid_t process = 0;
  while (run.wait_for(milliseconds(1)) != std::future_status::ready) {
    if (process == 0) process = process_of(out_, rank);
    if (process == 0 || !keeps_signals(process)) continue;
    ::kill(process, SIGUSR1);
    break;
  }
  EXPECT_FALSE(fs::exists(out_ + "/config.ini")) << "the signal came late";
  const Outcome outcome = run.get();
  EXPECT_EQ(outcome.exit_code, stopped) << outcome.output;
  EXPECT_EQ(stopped_step(outcome.output, fmt::format("SIGUSR1 at rank {}", rank)), 1) << outcome.output;
}

INSTANTIATE_TEST_SUITE_P(Ranks, SignalledRun, testing::Values(1, 2, 3));

// A signal that waits for the program when it starts.
Outcome signalled_before_start(const std::string& arguments) {
  return test::run(fmt::format("timeout 100 env --block-signal=USR1 sh -c 'kill -USR1 $$; exec {} {}'",
                               CONCLAVE_PROGRAM, arguments));
}

TEST(Stopping, hears_a_signal_that_came_before_training) {
  const TemporaryFolder folder;
  const std::string out = folder.path("run");
  const Outcome outcome = signalled_before_start(tiny + "--out " + out);
  EXPECT_EQ(outcome.exit_code, stopped) << outcome.output;
  EXPECT_EQ(stopped_step(outcome.output, "SIGUSR1 at rank 0"), 1) << outcome.output;
  // Each start does a step, so that a job that is started and stopped again and again comes to its end.
  EXPECT_EQ(signalled_before_start("train --resume " + out).exit_code, stopped);
  EXPECT_TRUE(fs::exists(out + "/step-00000002.h5"));
  expect_same_bits_when_resumed(folder, out, 2, 2);
}

TEST(Stopping, is_no_matter_once_the_last_step_is_done) {
  const TemporaryFolder folder;
  const Outcome outcome = signalled_before_start(tiny + "--stop-after 1 --out " + folder.path("run"));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(count(outcome.output, "stopped by"), 0) << outcome.output;
}

TEST(Stopping, leaves_the_evaluation_for_later) {
  const TemporaryFolder folder;
  const std::string out = folder.path("run");
  const Outcome cut = signalled_before_start(evaluated + "--eval-every 1 --out " + out);
  ASSERT_EQ(cut.exit_code, stopped) << cut.output;
  EXPECT_EQ(count(cut.output, "held-out loss"), 0) << cut.output;
  const Outcome resumed = on_ranks(2, CONCLAVE_PROGRAM, "train --eval-every 1 --stop-after 3 --resume " + out);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  const Outcome whole = conclave(evaluated + "--eval-every 1 --stop-after 3 --out " + folder.path("whole"));
  const auto evaluations = [](const std::string& file) {
    std::string lines;
    std::ifstream log(file);
    for (std::string line; std::getline(log, line);) {
      if (count(line, "\"kind\":\"evaluation\"") == 1) lines += line + '\n';
    }
    return lines;
  };
  EXPECT_EQ(evaluations(out + "/metrics.jsonl"), evaluations(folder.path("whole/metrics.jsonl")));
  EXPECT_EQ(count(evaluations(out + "/metrics.jsonl"), "\n"), 3);
  // It is made up for once.
  const Outcome again = conclave("train --stop-after 4 --resume " + out);
  ASSERT_EQ(again.exit_code, 0) << again.output;
  EXPECT_EQ(count(evaluations(out + "/metrics.jsonl"), "\n"), 4);
}

// As after a run that was killed between its last save and its last evaluation.
TEST(Stopping, makes_up_for_the_last_evaluation_when_no_step_is_left) {
  const TemporaryFolder folder;
  const std::string out = folder.path("run");
  const Outcome cut = signalled_before_start(evaluated + "--eval-every 0 --out " + out);
  ASSERT_EQ(cut.exit_code, stopped) << cut.output;
  const std::string resume = "train --stop-after 1 --resume " + out;
  const Outcome resumed = on_ranks(2, CONCLAVE_PROGRAM, resume);
  EXPECT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_EQ(count(resumed.output, "step 1: held-out loss"), 1) << resumed.output;
  const Outcome again = conclave(resume);
  EXPECT_EQ(again.exit_code, 0) << again.output;
  EXPECT_EQ(count(again.output, "held-out loss"), 0) << again.output;
  EXPECT_EQ(count(again.output, "nothing to do: 1 of 1 steps are done"), 1) << again.output;
}

TEST(Stopping, saves_before_its_time_is_up) {
  const TemporaryFolder folder;
  const std::string out = folder.path("run");
  const Outcome outcome = on_ranks(2, CONCLAVE_PROGRAM, tiny + "--time-limit 2 --time-margin 0.1s --out " + out);
  EXPECT_EQ(outcome.exit_code, stopped) << outcome.output;
  const Index step = stopped_step(outcome.output, "its time limit");
  ASSERT_GT(step, 0) << outcome.output;
  expect_same_bits_when_resumed(folder, out, step, 3);
}

TEST(Stopping, counts_the_margin) {
  const TemporaryFolder folder;
  const Outcome outcome = conclave(tiny + "--time-limit 1h --time-margin 0-01:00:00 --out " + folder.path("run"));
  EXPECT_EQ(outcome.exit_code, stopped) << outcome.output;
  EXPECT_EQ(stopped_step(outcome.output, "its time limit"), 1) << outcome.output;
}

// Programs of SLURM's names that answer as told.
class SlurmRun : public testing::Test {
 protected:
  Outcome run_in_job(const std::string& state, const std::string& arguments) {
    for (const auto& [name, answer] : {std::pair<std::string, std::string>{"squeue",
                                                                           "case $* in *%L) echo 0:20;; "
                                                                           "*) echo " +
                                                                               state + ";; esac"},
                                       {"scontrol", "echo \"$*\" >>" + folder_.path("asked")}}) {
      folder_.write(name, "#!/bin/sh\n" + answer + "\n");
      fs::permissions(folder_.path(name), fs::perms::owner_all);
    }
    return test::run(fmt::format("PATH={}:$PATH SLURM_JOB_ID=17 timeout 100 {} {}--out {} {}", folder_.path(),
                                 CONCLAVE_PROGRAM, tiny, folder_.path("run"), arguments));
  }
  TemporaryFolder folder_;
};

TEST_F(SlurmRun, stops_before_its_job_ends_and_is_started_again) {
  const Outcome outcome = run_in_job("RUNNING", "--requeue");
  EXPECT_EQ(outcome.exit_code, stopped) << outcome.output;
  EXPECT_EQ(count(outcome.output, "SLURM job 17: 20 s left\n"), 1) << outcome.output;
  EXPECT_EQ(stopped_step(outcome.output, "its time limit"), 1) << outcome.output;
  EXPECT_EQ(count(outcome.output, "job 17 goes back into the queue\n"), 1) << outcome.output;
  EXPECT_EQ(content_of(folder_.path("asked")), "requeue 17\n");
}

TEST_F(SlurmRun, asks_for_no_start_that_nobody_wants) {
  const Outcome cancelled = run_in_job("COMPLETING", "--requeue");
  EXPECT_EQ(cancelled.exit_code, stopped) << cancelled.output;
  EXPECT_EQ(count(cancelled.output, "is COMPLETING and is not put back"), 1) << cancelled.output;
  const Outcome again = run_in_job("RUNNING", "--resume auto");
  EXPECT_EQ(again.exit_code, stopped) << again.output;
  EXPECT_FALSE(fs::exists(folder_.path("asked")));
}

TEST_F(SlurmRun, may_be_told_to_forget_the_time) {
  const Outcome outcome = run_in_job("RUNNING", "--time-limit 0 --stop-after 2");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
}

TEST(Stopping, refuses_to_be_started_again_by_nobody) {
  const TemporaryFolder folder;
  const Outcome outcome = on_ranks(2, CONCLAVE_PROGRAM, tiny + "--requeue --out " + folder.path("run"));
  EXPECT_EQ(outcome.exit_code, 1) << outcome.output;
  EXPECT_EQ(count(outcome.output, "requeue = yes outside of a SLURM job"), 1) << outcome.output;
  EXPECT_FALSE(fs::exists(folder.path("run/config.ini")));
}

// One of two processes never calls MPI_Init.
TEST(Start, that_waits_for_a_rank_is_ended) {
  const TemporaryFolder folder;
  folder.write("run.ini", "hang_timeout = 1\n");
  for (const std::string& timeout : {std::string("--hang-timeout 1"), "--config " + folder.path("run.ini")}) {
    const Outcome outcome = test::run(fmt::format("{} 1 100 {} train {} --out {} : -n 1 sleep 90", CONCLAVE_MPIRUN,
                                                  CONCLAVE_PROGRAM, timeout, folder.path("run")));
    EXPECT_EQ(outcome.exit_code, 76) << outcome.output;
    EXPECT_EQ(count(outcome.output, "conclave: rank 0 of 2 of job "), 1) << outcome.output;
    EXPECT_EQ(count(outcome.output, " has been in MPI_Init for "), 1) << outcome.output;
  }
}

TEST(Stopping, refuses_what_is_no_time) {
  const Outcome outcome = conclave("train --time-limit soon");
  EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
  EXPECT_EQ(count(outcome.output, "cannot be 'soon'"), 1) << outcome.output;
  EXPECT_EQ(count(outcome.output, "1h30m"), 1) << outcome.output;
}

}  // namespace
}  // namespace conclave
