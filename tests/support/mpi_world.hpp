// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "comm/mpi/communicator.hpp"

namespace conclave::test {

/// All ranks of the running test.
[[nodiscard]] const comm::Communicator& world();

}  // namespace conclave::test
