// SPDX-License-Identifier: BSD-3-Clause
// What ends a run early: signals, the rule of the time that is left, and what SLURM is asked.
#include "apps/stopping.hpp"
#include "apps/child_process.hpp"
#include "apps/slurm_job.hpp"
#include "apps/stop_signal.hpp"
#include "runtime/core/gemm.hpp"
#include "runtime/core/matrix.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <ctime>
#include <thread>

namespace conclave::apps {
namespace {

using train::TemporaryFolder;

TEST(StopRule, needs_a_step_a_save_and_the_margin) {
  StopRule rule(30.0, 50e6, 4.0);
  rule.saw_step(2.0);
  rule.saw_step(1.0);
  // Nothing has been saved or evaluated: 1 s + 50 MB at 50 MB/s, and four steps.
  EXPECT_DOUBLE_EQ(rule.needed_s({}), 2.0 + 2.0 + 30.0);
  EXPECT_DOUBLE_EQ(rule.needed_s({.saves = true}), 2.0 + 2.0 + 30.0 + 2.0);
  EXPECT_DOUBLE_EQ(rule.needed_s({.evaluates = true}), 2.0 + 2.0 + 30.0 + 8.0);
  // What was measured replaces what was guessed, and the longest counts.
  rule.saw_save(0.5);
  rule.saw_evaluation(3.0);
  EXPECT_DOUBLE_EQ(rule.needed_s({true, true}), 2.0 + 0.5 + 30.0 + 0.5 + 3.0);
  rule.saw_save(7.0);
  rule.saw_save(1.0);
  rule.saw_evaluation(2.0);
  rule.saw_step(5.0);
  EXPECT_DOUBLE_EQ(rule.needed_s({true, true}), 5.0 + 7.0 + 30.0 + 7.0 + 3.0);
}

// As a launcher or a batch system sends it: to the process, whose threads take it in their own time.
void send(int signal) {
  ::kill(::getpid(), signal);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
}

bool is_blocked_here(int signal) {
  sigset_t blocked;
  pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  return sigismember(&blocked, signal) == 1;
}

// Each in a process of its own: what becomes of a signal cannot be taken back.
TEST(StopSignal, keeps_the_first) {
  EXPECT_EXIT(
      {
        keep_stop_signals();
        const bool none = stop_signal() == 0;
        for (const int signal : {SIGUSR2, SIGTERM, SIGUSR1, SIGINT}) send(signal);
        std::_Exit(none && stop_signal() == SIGUSR2 ? 42 : 1);
      },
      testing::ExitedWithCode(42), "");
}

TEST(StopSignal, ends_at_the_second_interrupt) {
  EXPECT_EXIT(
      {
        keep_stop_signals();
        send(SIGINT);
        send(SIGINT);
        std::_Exit(1);
      },
      testing::KilledBySignal(SIGINT), "");
}

TEST(StopSignal, ends_a_process_that_has_failed) {
  EXPECT_EXIT(
      {
        keep_stop_signals();
        send(SIGTERM);
        obey_stop_signals();
        send(SIGTERM);
        std::_Exit(1);
      },
      testing::KilledBySignal(SIGTERM), "");
}

TEST(StopSignal, hears_what_came_while_it_was_blocked) {
  EXPECT_EXIT(
      {
        sigset_t all;
        sigfillset(&all);
        sigprocmask(SIG_BLOCK, &all, nullptr);
        raise(SIGTERM);
        keep_stop_signals();
        std::_Exit(stop_signal() == SIGTERM ? 42 : 1);
      },
      testing::ExitedWithCode(42), "");
}

// So that the program that this one becomes finds it waiting.
TEST(StopSignal, hands_on_what_came) {
  EXPECT_EXIT(
      {
        keep_stop_signals();
        send(SIGUSR1);
        hand_on_stop_signals();
        sigset_t waiting;
        sigpending(&waiting);
        std::_Exit(sigismember(&waiting, SIGUSR1) == 1 ? 42 : 1);
      },
      testing::ExitedWithCode(42), "");
}

TEST(StopSignal, leaves_an_interrupt_ignored_that_was) {
  EXPECT_EXIT(
      {
        signal(SIGINT, SIG_IGN);
        keep_stop_signals();
        send(SIGINT);
        send(SIGINT);
        std::_Exit(stop_signal() == 0 ? 42 : 1);
      },
      testing::ExitedWithCode(42), "");
}

// A handler within a matrix product of oneDNN damages memory.
TEST(StopSignal, interrupts_no_thread_that_computes) {
  EXPECT_EXIT(
      {
        keep_stop_signals();
        bool are_blocked = true;
        const auto look = [&] {
          for (const int signal : {SIGTERM, SIGINT, SIGUSR1, SIGUSR2}) are_blocked &= is_blocked_here(signal);
        };
        look();
        std::thread(look).join();
        std::_Exit(are_blocked ? 42 : 1);
      },
      testing::ExitedWithCode(42), "");
}

// Whether products are right while signals come as fast as they can.
bool are_products_right_under_signals() {
  std::atomic<bool> ends{false};
  std::thread sender([&] {
    while (!ends) ::kill(::getpid(), SIGUSR1);
  });
  Matrix<float> y(24, 256);
  Matrix<float> w(256, 40);
  Matrix<float> x(24, 40);
  y.fill(1.0F);
  w.fill(2.0F);
  bool are_right = true;
  for (int i = 0; i < 20000; ++i) {
    gemm_nn<float>(y, w, 0.0F, x.view());
    are_right = are_right && std::all_of(x.data(), x.data() + x.size(), [](float v) { return v == 512.0F; });
  }
  ends = true;
  sender.join();
  return are_right;
}

TEST(StopSignal, leaves_products_alone) {
  if (!has_gemm_backend(GemmBackend::onednn)) GTEST_SKIP() << "built without oneDNN";
  EXPECT_EXIT(
      {
        make_blas_single_threaded();
        use_gemm_backend(GemmBackend::onednn);
        keep_stop_signals();
        const bool are_right = are_products_right_under_signals();
        std::_Exit(are_right && stop_signal() == SIGUSR1 ? 42 : 1);
      },
      testing::ExitedWithCode(42), "");
}

TEST(StopSignal, has_names) {
  EXPECT_EQ(stop_signal_name(SIGUSR1), "SIGUSR1");
  EXPECT_EQ(stop_signal_name(SIGTERM), "SIGTERM");
  EXPECT_THROW((void)stop_signal_name(SIGSEGV), InvariantError);
}

TEST(ChildProcess, tells_how_it_ended) {
  const ChildOutcome good = run_child({"sh", "-c", "echo out; echo err >&2; exit 3"}, 30.0);
  EXPECT_EQ(good.exit_code, 3);
  EXPECT_EQ(good.output, "out\nerr");
  EXPECT_EQ(run_child({"echo", "$HOME; `id`"}, 30.0).output, "$HOME; `id`");
  const ChildOutcome none = run_child({"conclave-no-such-program"}, 30.0);
  EXPECT_LT(none.exit_code, 0);
  EXPECT_NE(none.output, "");
  EXPECT_LT(run_child({"sh", "-c", "kill -9 $$"}, 30.0).exit_code, 0);
  const ChildOutcome slow = run_child({"sleep", "60"}, 0.2);
  EXPECT_LT(slow.exit_code, 0);
  EXPECT_EQ(slow.output, "no answer in 0.2 s");
}

// Programs of SLURM's names that answer as told, found first in PATH.
class Slurm : public testing::Test {
 protected:
  void SetUp() override {
    path_ = getenv("PATH");
    setenv("PATH", (folder_.path() + ":" + path_).c_str(), 1);
    unsetenv("SLURM_JOB_ID");
    unsetenv("SLURM_JOB_END_TIME");
  }
  void TearDown() override { setenv("PATH", path_.c_str(), 1); }

  void install(const std::string& name, const std::string& script) const {
    folder_.write(name, fmt::format("#!/bin/sh\necho \"{} $*\" >>{}\n{}\n", name, folder_.path("asked"), script));
    std::filesystem::permissions(folder_.path(name), std::filesystem::perms::owner_all);
  }
  [[nodiscard]] std::string asked() const { return test::content_of(folder_.path("asked")); }

 private:
  TemporaryFolder folder_;
  std::string path_;
};

TEST_F(Slurm, knows_its_job) {
  EXPECT_EQ(slurm_job(), std::nullopt);
  for (const std::string job : {"17", "17_4"}) {
    setenv("SLURM_JOB_ID", job.c_str(), 1);
    EXPECT_EQ(slurm_job(), job);
  }
  for (const char* job : {"", "17;id", "-1", "17_", "_4", "17_4_2", "17 18", "all"}) {
    setenv("SLURM_JOB_ID", job, 1);
    EXPECT_THROW((void)slurm_job(), InputError) << job;
  }
}

TEST_F(Slurm, knows_the_time_left) {
  install("squeue", "echo ' 1-02:03:04'");
  EXPECT_EQ(slurm_time_left("17").seconds, 93784.0);
  EXPECT_EQ(asked(), "squeue --noheader --job=17 --format=%L\n");
  install("squeue", "echo 3:04");
  EXPECT_EQ(slurm_time_left("17").seconds, 184.0);
  install("squeue", "echo UNLIMITED");
  EXPECT_EQ(slurm_time_left("17").seconds, std::nullopt);
  EXPECT_EQ(slurm_time_left("17").why_unknown, "");
  for (const char* answer : {"echo INVALID", "echo", "echo 12", "echo no controller >&2; exit 1"}) {
    install("squeue", answer);
    EXPECT_EQ(slurm_time_left("17").seconds, std::nullopt) << answer;
    EXPECT_NE(slurm_time_left("17").why_unknown, "") << answer;
  }
  // SLURM's own word needs no squeue.
  setenv("SLURM_JOB_END_TIME", std::to_string(std::time(nullptr) + 5000).c_str(), 1);
  const auto left = slurm_time_left("17").seconds;
  ASSERT_TRUE(left);
  EXPECT_GT(*left, 1000.0);
  EXPECT_LE(*left, 5000.0);
  setenv("SLURM_JOB_END_TIME", "1000", 1);
  EXPECT_EQ(slurm_time_left("17").seconds, 0.0);
}

TEST_F(Slurm, puts_a_running_job_back) {
  install("squeue", "echo RUNNING");
  install("scontrol", "exit 0");
  EXPECT_EQ(requeue_slurm_job("17_4"), "job 17_4 goes back into the queue");
  EXPECT_EQ(asked(), "squeue --noheader --job=17_4 --format=%T\nscontrol requeue 17_4\n");
  install("scontrol", "echo Job is not a batch job >&2; exit 1");
  EXPECT_EQ(requeue_slurm_job("18"),
            "job 18 could not be put back into the queue: scontrol requeue: Job is not a batch job");
}

TEST_F(Slurm, leaves_a_cancelled_job) {
  install("squeue", "echo COMPLETING");
  install("scontrol", "exit 0");
  EXPECT_EQ(requeue_slurm_job("17"), "job 17 is COMPLETING and is not put back into the queue");
  EXPECT_EQ(asked(), "squeue --noheader --job=17 --format=%T\n");
}

}  // namespace
}  // namespace conclave::apps
