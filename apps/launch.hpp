// SPDX-License-Identifier: BSD-3-Clause
// How this process was started, and what has to be settled before MPI is initialised. The only part of the program that
// reads the environment, together with blas_kernel.hpp and the doctor.
#pragma once

#include "runtime/core/ids.hpp"

#include <optional>
#include <string>

namespace conclave::apps {

/// An environment variable's value; nothing if it is not set.
[[nodiscard]] std::optional<std::string> environment_variable(const char* name);
/// As environment_variable, as a number; nothing if it is not set or not a number.
[[nodiscard]] std::optional<Index> environment_number(const char* name);

/// CPUs this process may run on. At least 1.
[[nodiscard]] Index available_cpus();
/// CPUs that this node's ranks may share: the available ones, or all of the node's where the launcher bound each rank
/// to CPUs of its own.
[[nodiscard]] Index cpus_for_all_ranks();

/// This process' rank as its launcher numbered it; 0 without a launcher. For what is printed before MPI runs.
[[nodiscard]] Index launched_rank();

/// Threads for each of `local_ranks` ranks on this node where the user names no number: OMP_NUM_THREADS or SLURM's CPUs
/// a task if they are set, else this rank's share of the CPUs.
[[nodiscard]] Index default_threads(Index local_ranks);

/// Whether the system lets a process copy straight out of another's memory (cross-memory attach), tried on this process
/// itself. Containers often forbid it.
[[nodiscard]] bool may_attach_memory();

/// Gives the MPI library the settings that Conclave needs, except those the user has set: Open MPI's own MPI-IO hangs
/// on a full disk, ROMIO reports it; ranks that outnumber the CPUs must yield while they wait; where cross-memory
/// attach is forbidden, trying it floods stderr; and over TCP it puts a large message as one piece, behind which all
/// that the other side waits for stands in line, so that both directions of a link take turns: in fragments they go at
/// once; and messages up to 4 MiB leave over TCP without asking first, since a rank that computes answers, and is
/// asked, only now and then. Before MPI_Init.
void set_mpi_defaults();

/// InputError if a launcher started several processes and each has a world of its own, as happens where the MPI library
/// and `srun` do not understand each other.
void check_launcher(Index world_size);

}  // namespace conclave::apps
