// SPDX-License-Identifier: BSD-3-Clause
#include "apps/launch.hpp"

#include "runtime/core/error.hpp"
#include "runtime/core/parse_number.hpp"

#include <sched.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace conclave::apps {

std::optional<std::string> environment_variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

std::optional<Index> environment_number(const char* name) {
  const auto text = environment_variable(name);
  return text ? parse_number<Index>(*text) : std::nullopt;
}

namespace {

bool is_bound_by_mpirun() { return environment_variable("OMPI_MCA_orte_bound_at_launch").has_value(); }

}  // namespace

Index available_cpus() {
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) return std::max(1, CPU_COUNT(&mask));
  return std::max<Index>(1, sysconf(_SC_NPROCESSORS_ONLN));  // more CPUs than a cpu_set_t holds
}

Index cpus_for_all_ranks() {
  return is_bound_by_mpirun() ? std::max<Index>(1, sysconf(_SC_NPROCESSORS_ONLN)) : available_cpus();
}

Index default_threads(Index local_ranks) {
  for (const char* name : {"OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"}) {
    const auto threads = environment_number(name);
    if (threads && *threads > 0) return *threads;
  }
  const bool own_cpus = is_bound_by_mpirun() || environment_variable("SLURM_CPU_BIND");
  return own_cpus ? available_cpus() : std::max<Index>(1, available_cpus() / local_ranks);
}

bool may_attach_memory() {
  std::uint64_t source = 0x5eed;
  std::uint64_t copy = 0;
  const iovec to{&copy, sizeof copy};
  const iovec from{&source, sizeof source};
  return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == sizeof copy && copy == source;
}

Index launched_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    if (const auto rank = environment_number(name)) return *rank;
  }
  return 0;
}

void set_mpi_defaults() {
  constexpr int keep_the_users = 0;
  setenv("OMPI_MCA_io", "romio321", keep_the_users);
  const Index local_ranks = environment_number("OMPI_COMM_WORLD_LOCAL_SIZE").value_or(1);
  if (local_ranks > cpus_for_all_ranks()) setenv("OMPI_MCA_mpi_yield_when_idle", "1", keep_the_users);
  if (!may_attach_memory()) setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", keep_the_users);
  // Its own flags over TCP, but for `put`.
  setenv("OMPI_MCA_btl_tcp_flags", "send,inplace,need-ack,need-csum,hetero-rdma", keep_the_users);
  setenv("OMPI_MCA_btl_tcp_eager_limit", "4194304", keep_the_users);
}

void check_launcher(Index world_size) {
  const bool in_srun_step = environment_variable("SLURM_STEP_ID") && !environment_variable("OMPI_COMM_WORLD_SIZE");
  if (!in_srun_step || world_size > 1) return;
  const auto step_tasks = environment_number("SLURM_STEP_NUM_TASKS");
  const Index tasks = step_tasks ? *step_tasks : environment_number("SLURM_NTASKS").value_or(1);
  if (tasks > 1) {
    throw InputError(fmt::format("srun started {} tasks, but each sees an MPI world of 1 rank", tasks),
                     "start with 'srun --mpi=pmix' or with the mpirun of the MPI library that Conclave was built with");
  }
}

}  // namespace conclave::apps
