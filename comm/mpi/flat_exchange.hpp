// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "comm/mpi/exchange.hpp"

namespace conclave::comm {

/// Every rank sends to every peer directly (plan::flat_schedule): P - 1 messages a rank, each row travels once.
[[nodiscard]] std::unique_ptr<Exchange> make_flat_exchange(const Communicator& communicator);

}  // namespace conclave::comm
