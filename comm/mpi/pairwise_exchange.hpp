// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "comm/mpi/exchange.hpp"

namespace conclave::comm {

/// The rounds of plan::pairwise_schedule over point-to-point messages: P - 1 messages a rank, a few at once, so that no
/// receiver is sent to by everybody at the same time.
[[nodiscard]] std::unique_ptr<Exchange> make_pairwise_exchange(const Communicator& communicator,
                                                               const plan::Topology& topology);

}  // namespace conclave::comm
