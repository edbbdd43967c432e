// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "comm/mpi/exchange.hpp"

namespace conclave::comm {

/// Within a node as shared; what goes to another node crosses the network in one message, each row once, however many
/// of its copies go there (plan::hierarchical_schedule). Senders write into the message itself, receivers copy from it.
[[nodiscard]] std::unique_ptr<Exchange> make_hierarchical_exchange(const Communicator& communicator,
                                                                   const plan::Topology& topology);

}  // namespace conclave::comm
