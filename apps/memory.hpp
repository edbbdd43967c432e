// SPDX-License-Identifier: BSD-3-Clause
// Whether what a run needs fits into memory.
#pragma once

#include "comm/mpi/communicator.hpp"
#include "comm/plan/memory_need.hpp"

#include <string>

namespace conclave::apps {

/// Bytes that new arrays of this process' node can take: what the system calls available, less where a control group
/// (of a batch job or a container) limits it.
[[nodiscard]] double available_memory();
/// Bytes of this process that are in memory now, of a page that several processes have, its share. 0 where the system
/// does not tell; so below.
[[nodiscard]] double proportional_memory();
/// Bytes of this process that are in memory now, and that were at its highest.
[[nodiscard]] double resident_memory();
[[nodiscard]] double peak_resident_memory();

/// What the limit on this process' address space (ulimit -v) leaves; infinite where there is none.
[[nodiscard]] double left_by_address_space();

/// "412 MiB a rank, by formula (experts' weights and gradients 200 MiB, ...); 23.1 GiB are free on a node of 2 ranks",
/// of the rank that needs most. InputError on every rank where the ranks of a node need more than it has, or a rank
/// more than its process may have. Collective.
[[nodiscard]] std::string refuse_too_much_memory(const comm::Communicator& world,
                                                 const std::vector<plan::MemoryItem>& need);

/// "1.50 GiB", "12.0 MiB".
[[nodiscard]] std::string bytes_text(double bytes);

}  // namespace conclave::apps
