// SPDX-License-Identifier: BSD-3-Clause
#include "apps/launch.hpp"

#include "runtime/core/error.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

namespace conclave::apps {
namespace {

// A clean environment for each test: what launchers set is taken out.
class Launch : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name :
         {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "OMPI_MCA_io",
          "OMPI_MCA_mpi_yield_when_idle", "OMPI_MCA_btl_tcp_flags", "OMPI_MCA_btl_tcp_eager_limit",
          "OMPI_MCA_orte_bound_at_launch", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID", "SLURM_STEP_ID", "SLURM_NTASKS",
          "SLURM_STEP_NUM_TASKS", "SLURM_CPU_BIND", "SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS"}) {
      unsetenv(name);
    }
  }
  static void set(const char* name, const char* value) { setenv(name, value, 1); }
};

TEST_F(Launch, reads_numbers) {
  EXPECT_EQ(environment_number("OMP_NUM_THREADS"), std::nullopt);
  set("OMP_NUM_THREADS", "12");
  EXPECT_EQ(environment_number("OMP_NUM_THREADS"), 12);
  set("OMP_NUM_THREADS", "4,2");
  EXPECT_EQ(environment_number("OMP_NUM_THREADS"), std::nullopt);
  set("OMP_NUM_THREADS", "");
  EXPECT_EQ(environment_number("OMP_NUM_THREADS"), std::nullopt);
}

TEST_F(Launch, knows_its_rank) {
  EXPECT_EQ(launched_rank(), 0);
  set("PMI_RANK", "3");
  EXPECT_EQ(launched_rank(), 3);
}

TEST_F(Launch, sets_what_mpi_needs_and_keeps_the_users) {
  set_mpi_defaults();
  EXPECT_EQ(environment_variable("OMPI_MCA_io"), "romio321");
  EXPECT_EQ(environment_variable("OMPI_MCA_mpi_yield_when_idle"), std::nullopt);
  EXPECT_EQ(environment_variable("OMPI_MCA_btl_tcp_flags"), "send,inplace,need-ack,need-csum,hetero-rdma");
  EXPECT_EQ(environment_variable("OMPI_MCA_btl_tcp_eager_limit"), "4194304");
  set("OMPI_MCA_io", "ompio");
  set("OMPI_MCA_btl_tcp_flags", "send,put");
  set("OMPI_MCA_btl_tcp_eager_limit", "65536");
  set_mpi_defaults();
  EXPECT_EQ(environment_variable("OMPI_MCA_io"), "ompio");
  EXPECT_EQ(environment_variable("OMPI_MCA_btl_tcp_flags"), "send,put");
  EXPECT_EQ(environment_variable("OMPI_MCA_btl_tcp_eager_limit"), "65536");
}

TEST_F(Launch, lets_ranks_yield_that_outnumber_the_cpus) {
  set("OMPI_COMM_WORLD_LOCAL_SIZE", "1000000");
  set_mpi_defaults();
  EXPECT_EQ(environment_variable("OMPI_MCA_mpi_yield_when_idle"), "1");
  set("OMPI_MCA_mpi_yield_when_idle", "0");
  set_mpi_defaults();
  EXPECT_EQ(environment_variable("OMPI_MCA_mpi_yield_when_idle"), "0");
}

TEST_F(Launch, shares_the_cpus_among_a_nodes_ranks) {
  EXPECT_EQ(default_threads(1), available_cpus());
  EXPECT_EQ(default_threads(1000000), 1);
  set("OMPI_MCA_orte_bound_at_launch", "1");  // the CPUs seen are this rank's own
  EXPECT_EQ(default_threads(1000000), available_cpus());
  set("SLURM_CPUS_PER_TASK", "3");
  EXPECT_EQ(default_threads(1000000), 3);
  set("OMP_NUM_THREADS", "5");
  EXPECT_EQ(default_threads(1000000), 5);
  set("OMP_NUM_THREADS", "0");
  EXPECT_EQ(default_threads(1000000), 3);
}

TEST_F(Launch, refuses_worlds_of_one_under_srun) {
  check_launcher(1);
  set("SLURM_NTASKS", "4");
  check_launcher(1);  // in a batch script, outside of any step
  set("SLURM_STEP_ID", "0");
  EXPECT_THROW(check_launcher(1), InputError);
  check_launcher(4);
  set("SLURM_STEP_NUM_TASKS", "1");  // a step of one task in a job of four
  check_launcher(1);
  set("SLURM_STEP_NUM_TASKS", "4");
  EXPECT_THROW(check_launcher(1), InputError);
  set("OMPI_COMM_WORLD_SIZE", "1");  // mpirun -n 1, whose daemon srun has started
  check_launcher(1);
}

}  // namespace
}  // namespace conclave::apps
