// SPDX-License-Identifier: BSD-3-Clause
// What the program makes of a checkpoint: every command that reads one, as main() would call it.
#pragma once

#include "apps/blas_kernel.hpp"
#include "comm/mpi/communicator.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace conclave::fuzz {

/// How one command ended: refused with an InputError, or done, with what it said and left behind.
struct Finding {
  bool is_refused = false;
  std::string result;  // the refusal; or the standard output, and the bytes of the checkpoint that a run went on to
};

/// Calls a command as main() would. What it prints goes into the file `said`. Collective.
[[nodiscard]] Finding call(const std::vector<std::string>& words, const std::filesystem::path& said,
                           const comm::Communicator& world, const apps::BlasChoice& blas);

/// Calls inspect --verify, inspect --digests, evaluate, and train --resume for one more step, into `scratch`. A failure
/// that is no InputError is thrown on. Collective.
[[nodiscard]] std::vector<Finding> examine(const std::filesystem::path& checkpoint,
                                           const std::filesystem::path& scratch, const comm::Communicator& world,
                                           const apps::BlasChoice& blas);

}  // namespace conclave::fuzz
