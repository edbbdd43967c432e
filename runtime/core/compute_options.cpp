// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/compute_options.hpp"

#include "runtime/core/parallel.hpp"

namespace conclave {

void describe(ComputeOptions& o, OptionTable& table) {
  table.add("threads", o.threads, "threads a rank; 0: this rank's share of the CPUs");
  table.add("gemm", o.gemm,
            "library of the matrix products; each has its own bits, and onednn is there if the program was built with "
            "it");
}

void apply(const ComputeOptions& o) {
  if (o.threads < 0) {
    throw InputError(fmt::format("threads = {}", o.threads), "give 0 (this rank's share of the CPUs) or more");
  }
  if (o.threads > 0) use_threads(o.threads);
  use_gemm_backend(o.gemm);
}

}  // namespace conclave
