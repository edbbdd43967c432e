// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "comm/mpi/exchange.hpp"

namespace conclave::comm {

/// Ranks of a node write rows straight into each other's inboxes, which lie in memory that they share: one copy. Ranks
/// of other nodes are sent to directly (plan::shared_schedule).
[[nodiscard]] std::unique_ptr<Exchange> make_shared_exchange(const Communicator& communicator,
                                                             const plan::Topology& topology);

}  // namespace conclave::comm
