// SPDX-License-Identifier: BSD-3-Clause
// Commands of the program as main() would call them, and how they ended.
#pragma once

#include "apps/blas_kernel.hpp"
#include "comm/mpi/communicator.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace conclave::fuzz {

using Words = std::vector<std::string>;

/// How one command ended: refused with an InputError, or done, with what it said and left behind.
struct Finding {
  bool is_refused = false;
  std::string result;  // the refusal; or the standard output, or the bytes of a file that the command has written
};

/// Calls a command as main() would. What it prints goes into the file `said`. A failure that is no InputError is thrown
/// on. Collective.
[[nodiscard]] Finding call(const Words& words, const std::filesystem::path& said, const comm::Communicator& world,
                           const apps::BlasChoice& blas);

}  // namespace conclave::fuzz
