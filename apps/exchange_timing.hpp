// SPDX-License-Identifier: BSD-3-Clause
// Timings of exchanges between all ranks of several nodes, beside what the simulator prices them at.
#pragma once

#include "comm/mpi/communicator.hpp"
#include "runtime/sim/machine.hpp"

namespace conclave::apps {

/// By every strategy, of small and of large messages, and of parameters that are gathered; of `repeats` timings the
/// median and what 9 of 10 are within. `machine`: on the root, what messages cost between two ranks; nodes are joined
/// as by those. Nothing on other ranks, on one node, and where nodes have different numbers of ranks. Collective.
[[nodiscard]] std::vector<sim::ExchangeFactor> time_exchanges(const comm::Communicator& world,
                                                              const sim::Machine& machine, Index repeats);

}  // namespace conclave::apps
