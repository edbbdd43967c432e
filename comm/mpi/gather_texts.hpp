// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "comm/mpi/communicator.hpp"
#include "runtime/core/function_ref.hpp"

#include <string_view>

namespace conclave::comm {

/// Hands every rank's text to `take` on the root, in rank order. The root holds one at a time, however many ranks there
/// are. `take` must not throw. Collective.
void gather_texts(const Communicator& communicator, std::string_view text, FunctionRef<void(std::string_view)> take);

}  // namespace conclave::comm
