// SPDX-License-Identifier: BSD-3-Clause
// The executable as a user starts it: what it prints and how it exits.
#include "tests/apps/program.hpp"
#include "runtime/core/cpu.hpp"

#include <gtest/gtest.h>

#include <fstream>

namespace conclave {
namespace {

using test::conclave;
using test::count;
using test::on_ranks;
using test::Outcome;
using test::run;

TEST(Program, lists_its_commands) {
  for (const std::string arguments : {"", "--help", "-h"}) {
    const Outcome outcome = conclave(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_EQ(count(outcome.output, "\n  doctor  "), 1) << outcome.output;
    EXPECT_EQ(count(outcome.output, "\nExit codes: 0 done, 1 failure, 2 wrong use, 75 "), 1) << outcome.output;
  }
}

TEST(Program, tells_its_version) {
  const Outcome outcome = conclave("--version");
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.output, "conclave " CONCLAVE_VERSION "\n");
}

TEST(Program, helps_with_a_command) {
  const Outcome outcome = conclave("doctor --help");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(count(outcome.output, "Usage: conclave doctor"), 1) << outcome.output;
  EXPECT_EQ(count(outcome.output, "--config"), 1) << outcome.output;
}

TEST(Program, helps_once_on_many_ranks) {
  const Outcome outcome = on_ranks(3, CONCLAVE_PROGRAM, "--help");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(count(outcome.output, "Usage: conclave COMMAND"), 1) << outcome.output;
}

TEST(Program, suggests_the_nearest_names) {
  const Outcome command = conclave("doctr");
  EXPECT_EQ(command.exit_code, 2);
  EXPECT_EQ(count(command.output, "unknown command 'doctr'; did you mean doctor"), 1) << command.output;
  const Outcome option = conclave("doctor --confg=x");
  EXPECT_EQ(option.exit_code, 2);
  EXPECT_EQ(count(option.output, "unknown option '--confg'; did you mean --config?"), 1) << option.output;
}

TEST(Program, tells_wrong_use_once_on_many_ranks) {
  for (const std::string arguments : {"doctor --nonsense", "doctor --config /nonexistent/file", "nonsense"}) {
    const Outcome outcome = on_ranks(3, CONCLAVE_PROGRAM, arguments);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
    EXPECT_EQ(count(outcome.output, "conclave: "), 1) << outcome.output;
    EXPECT_EQ(count(outcome.output, "hint: "), 1) << outcome.output;
    EXPECT_EQ(count(outcome.output, "MPI_ABORT"), 0) << outcome.output;
  }
}

TEST(Program, reads_a_configuration_file) {
  const std::string path = testing::TempDir() + "conclave_test_program.ini";
  std::ofstream(path) << "# nothing to set\n";
  EXPECT_EQ(on_ranks(2, CONCLAVE_PROGRAM, "doctor --config " + path).exit_code, 0);
  std::ofstream(path) << "\ntop_k = 2\n";
  const Outcome outcome = conclave("doctor --config " + path);
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_EQ(count(outcome.output, path + ":2: unknown option 'top_k'"), 1) << outcome.output;
}

TEST(Program, refuses_ranks_with_different_command_lines) {
  const Outcome outcome =
      run(fmt::format("{} 1 100 {} doctor : -n 1 {} nonsense", CONCLAVE_MPIRUN, CONCLAVE_PROGRAM, CONCLAVE_PROGRAM));
  EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
  EXPECT_EQ(count(outcome.output, "different command lines"), 1) << outcome.output;
}

TEST(Doctor, finds_this_machine_sound) {
  for (const Index ranks : {1, 2}) {
    const Outcome outcome = on_ranks(ranks, CONCLAVE_PROGRAM, "doctor");
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_EQ(count(outcome.output, "FAIL"), 0) << outcome.output;
    for (const std::string subject : {"CPU", "BLAS", "openblas product", "threads and CPUs", "shared memory", "disk",
                                      "MPI", "local transport", "MPI-IO", "HDF5", "SLURM", "ranks alike"}) {
      EXPECT_EQ(count(outcome.output, fmt::format("  {:<18}", subject)), 1) << subject << '\n' << outcome.output;
    }
    EXPECT_EQ(count(outcome.output, fmt::format(" {} rank", ranks)), 2) << outcome.output;
    EXPECT_EQ(count(outcome.output, "OMPI_MCA_io=romio321"), 1) << outcome.output;
  }
}

TEST(Doctor, warns_of_more_threads_than_cpus) {
  const Outcome outcome = run(fmt::format("OMP_NUM_THREADS=1000 timeout 100 {} doctor", CONCLAVE_PROGRAM));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(count(outcome.output, "warn  threads and CPUs"), 1) << outcome.output;
}

TEST(Doctor, warns_of_the_users_worse_kernels) {
  const Outcome outcome = run(fmt::format("OPENBLAS_CORETYPE=Prescott timeout 100 {} doctor", CONCLAVE_PROGRAM));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  if (better_blas_kernel("Prescott") && count(outcome.output, "kernels unknown") == 0) {
    EXPECT_EQ(count(outcome.output, "warn  BLAS"), 1) << outcome.output;
  }
}

TEST(Blas, is_started_again_with_better_kernels) {
  const Outcome outcome =
      run(fmt::format("ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0 LD_PRELOAD={} timeout 100 {} doctor",
                      CONCLAVE_BAD_BLAS_GUESS, CONCLAVE_PROGRAM));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  if (const auto better = better_blas_kernel("Prescott"); better && count(outcome.output, "kernels unknown") == 0) {
    EXPECT_EQ(count(outcome.output, fmt::format("kernels {}:", *better)), 1) << outcome.output;
    EXPECT_EQ(count(outcome.output, "was asked"), 1) << outcome.output;
  }
}

TEST(Failure, of_one_rank_ends_the_others) {
  for (const Index rank : {0, 2}) {
    const Outcome outcome = on_ranks(3, CONCLAVE_FAILING_JOB, fmt::format("{}", rank));
    EXPECT_EQ(outcome.exit_code, 1) << outcome.output;
    EXPECT_EQ(count(outcome.output, fmt::format("failing_job: rank {}: it failed\n  hint: mend it\n", rank)), 1)
        << outcome.output;
  }
}

TEST(Failure, of_all_ranks_is_told_once) {
  const Outcome outcome = on_ranks(3, CONCLAVE_FAILING_JOB, "all");
  EXPECT_EQ(outcome.exit_code, 1) << outcome.output;
  EXPECT_EQ(count(outcome.output, "it failed"), 1) << outcome.output;
}

TEST(Failure, of_the_only_rank_is_told_without_its_number) {
  const Outcome outcome = on_ranks(1, CONCLAVE_FAILING_JOB, "all");
  EXPECT_EQ(outcome.exit_code, 1) << outcome.output;
  EXPECT_EQ(count(outcome.output, "failing_job: it failed\n  hint: mend it\n"), 1) << outcome.output;
  EXPECT_EQ(count(outcome.output, "MPI_ABORT"), 0) << outcome.output;
}

}  // namespace
}  // namespace conclave
