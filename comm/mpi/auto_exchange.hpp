// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "comm/mpi/exchange.hpp"

namespace conclave::comm {

/// Each inbox tries the other strategies in turn in its first uses, on the traffic that it really has; then all ranks
/// agree on the one whose slowest rank was fastest in its best use. All put the same bytes in the same places, so what
/// is chosen changes no result.
[[nodiscard]] std::unique_ptr<Exchange> make_auto_exchange(const Communicator& communicator,
                                                           const plan::Topology& topology);

}  // namespace conclave::comm
