// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "comm/mpi/exchange.hpp"

namespace conclave::comm {

/// Every rank sends to every peer directly (plan::flat_schedule): P - 1 messages a rank, each row travels once. How and
/// in which order is left to MPI_Ialltoallv.
[[nodiscard]] std::unique_ptr<Exchange> make_flat_exchange(const Communicator& communicator,
                                                           const plan::Topology& topology);

}  // namespace conclave::comm
