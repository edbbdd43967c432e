// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "comm/mpi/exchange.hpp"

namespace conclave::comm {

/// The rounds of plan::BruckPlan: ceil(log2 P) messages a rank, each row travels up to that often. How many rows of
/// others a message carries is said in the message.
[[nodiscard]] std::unique_ptr<Exchange> make_bruck_exchange(const Communicator& communicator,
                                                            const plan::Topology& topology);

}  // namespace conclave::comm
