// SPDX-License-Identifier: BSD-3-Clause
// With how many threads, and in which library, a process computes.
#pragma once

#include "runtime/core/gemm.hpp"

namespace conclave {

struct ComputeOptions {
  Index threads = 0;
  GemmBackend gemm = default_gemm_backend();
};

void describe(ComputeOptions& options, OptionTable& table);

/// For the whole process, from now on. InputError for a negative number of threads (0 changes nothing) and for a
/// library that this program was built without.
void apply(const ComputeOptions& options);

}  // namespace conclave
