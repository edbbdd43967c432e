// SPDX-License-Identifier: BSD-3-Clause
#include "apps/doctor.hpp"
#include "apps/launch.hpp"
#include "comm/mpi/environment.hpp"
#include "runtime/core/cpu.hpp"

#include <hdf5.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <set>

namespace conclave::apps {
namespace {

Finding examine_mpi(const comm::Communicator& world) {
  const Index num_nodes = world.topology().num_nodes();
  return {Verdict::ok, "MPI",
          fmt::format("{}, funneled threads, {} rank{} on {} node{}", comm::mpi_library(), world.size(),
                      world.size() == 1 ? "" : "s", num_nodes, num_nodes == 1 ? "" : "s"),
          ""};
}

// Whether this rank can copy out of the memory of the next rank on its node; of its own if it is alone there.
bool can_read_neighbour(const comm::Communicator& world) {
  constexpr std::int64_t pattern = 0x0123456789abcdef;
  const std::int64_t value = pattern + world.rank().value();
  const std::vector<std::int64_t> mine{getpid(), static_cast<std::int64_t>(reinterpret_cast<std::intptr_t>(&value))};
  const std::vector<std::int64_t> all = world.gather_all(std::span<const std::int64_t>(mine));
  const plan::Topology topology = world.topology();
  const std::vector<RankId>& local = topology.ranks(topology.node(world.rank()));
  const auto self = std::find(local.begin(), local.end(), world.rank());
  const RankId neighbour = std::next(self) == local.end() ? local.front() : *std::next(self);
  const auto at = 2 * static_cast<std::size_t>(neighbour.value());
  std::int64_t copy = 0;
  const iovec to{&copy, sizeof copy};
  // NOLINTNEXTLINE(performance-no-int-to-ptr): an address in another process, never followed in this one
  const iovec from{reinterpret_cast<void*>(static_cast<std::intptr_t>(all[at + 1])), sizeof copy};
  const bool read = process_vm_readv(static_cast<pid_t>(all[at]), &to, 1, &from, 1, 0) == sizeof copy;
  world.barrier();  // `value` has to live until the neighbour has read it
  return read && copy == pattern + neighbour.value();
}

Finding examine_transport(const comm::Communicator& world) {
  const bool works = world.all(can_read_neighbour(world));
  const std::string mechanism = environment_variable("OMPI_MCA_btl_vader_single_copy_mechanism").value_or("");
  Finding finding{Verdict::ok, "local transport", "", ""};
  finding.text = works ? "ranks may copy from each other's memory (CMA)"
                       : "ranks may not copy from each other's memory (CMA): messages take two copies";
  if (mechanism == "none") {
    finding.text += works ? ", but Open MPI is told not to" : "; Open MPI knows";
  } else if (!works) {
    finding.verdict = Verdict::warn;
    finding.remedy =
        "allow it (containers: --cap-add=SYS_PTRACE; hosts: kernel.yama.ptrace_scope=0), or set "
        "OMPI_MCA_btl_vader_single_copy_mechanism=none to spare Open MPI its tries";
  }
  return finding;
}

Finding examine_mpi_io() {
  const bool open_mpi = comm::mpi_library().find("Open MPI") != std::string::npos;
  const std::string io = environment_variable("OMPI_MCA_io").value_or("");
  if (!open_mpi) return {Verdict::ok, "MPI-IO", "the library's own", ""};
  if (io.starts_with("romio")) return {Verdict::ok, "MPI-IO", fmt::format("ROMIO (OMPI_MCA_io={})", io), ""};
  return {Verdict::warn, "MPI-IO", fmt::format("OMPI_MCA_io={} was set by the user", io),
          "Open MPI's OMPIO hangs on a full disk: unset OMPI_MCA_io, or set it to romio321"};
}

Finding examine_hdf5() {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  const std::string version = fmt::format("{}.{}.{}", major, minor, release);
#ifdef H5_HAVE_PARALLEL
  Finding finding{Verdict::ok, "HDF5", version + ", parallel", ""};
#else
  Finding finding{Verdict::fail, "HDF5", version + ", built without MPI", "build with a parallel HDF5"};
#endif
  if (major != H5_VERS_MAJOR || minor != H5_VERS_MINOR) {
    finding.verdict = Verdict::fail;
    finding.text += fmt::format("; the program was built with {}.{}.{}", H5_VERS_MAJOR, H5_VERS_MINOR, H5_VERS_RELEASE);
    finding.remedy = "another HDF5 is found at run time: load the module the program was built with, or build again";
  }
  return finding;
}

Finding examine_slurm(const comm::Communicator& world) {
  const auto job = environment_variable("SLURM_JOB_ID");
  if (!job) return {Verdict::ok, "SLURM", "not in a job", ""};
  const Index tasks = environment_number("SLURM_NTASKS").value_or(1);
  Finding finding{Verdict::ok, "SLURM", fmt::format("job {}, {} tasks, {} ranks", *job, tasks, world.size()), ""};
  if (tasks != world.size()) {
    finding.verdict = Verdict::warn;
    finding.remedy = "the job's tasks and the ranks differ in number: use 'srun --mpi=pmix', or mpirun without -n";
  }
  return finding;
}

// A value on the ranks that have it: "Haswell (ranks 0 2), SkylakeX (rank 1)"; long lists are cut.
std::string by_rank(const std::vector<std::string>& values) {
  std::vector<std::string> parts;
  for (const std::string& value : std::set<std::string>(values.begin(), values.end())) {
    std::vector<std::string> ranks;
    Index count = 0;
    for (std::size_t rank = 0; rank < values.size(); ++rank) {
      if (values[rank] == value && ++count <= 8) ranks.push_back(fmt::format("{}", rank));
    }
    if (count > 8) ranks.push_back(fmt::format("... {} ranks in all", count));
    parts.push_back(fmt::format("{} ({} {})", value, count == 1 ? "rank" : "ranks", fmt::join(ranks, " ")));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

Finding examine_likeness(const Session& session) {
  const std::vector<std::string> cpus = session.world.gather_all(cpu_description());
  const std::vector<std::string> kernels = session.world.gather_all(session.blas.loaded);
  Finding finding{Verdict::ok, "ranks alike", "", ""};
  for (const auto* values : {&cpus, &kernels}) {
    if (std::set<std::string>(values->begin(), values->end()).size() < 2) continue;
    finding.verdict = Verdict::warn;
    finding.text += (finding.text.empty() ? "" : "; ") + by_rank(*values);
    finding.remedy =
        "a run has the same bits only on CPUs of one type with one kernel set: ask the queue for one type of "
        "node, or set OPENBLAS_CORETYPE to what all of them have";
  }
  if (finding.text.empty()) finding.text = "one type of CPU and one BLAS kernel set on all ranks";
  return finding;
}

}  // namespace

std::vector<Finding> examine_job(const Session& session) {
  const comm::Communicator& world = session.world;
  return {examine_mpi(world), examine_transport(world), examine_mpi_io(),
          examine_hdf5(),     examine_slurm(world),     examine_likeness(session)};
}

}  // namespace conclave::apps
