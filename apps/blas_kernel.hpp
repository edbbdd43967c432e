// SPDX-License-Identifier: BSD-3-Clause
// OpenBLAS guesses the CPU, and guesses wrong on CPUs newer than itself or behind a hypervisor: several times slower
// products. It reads OPENBLAS_CORETYPE only while it is loaded, so the remedy is to start this program once more.
#pragma once

#include <optional>
#include <string>

namespace conclave::apps {

/// Which kernel set BLAS uses, and how that came about. Part of every run's record: other kernels give other bits.
struct BlasChoice {
  std::string loaded;                 // the kernel set in use, e.g. "SkylakeX", or "unknown"
  std::optional<std::string> better;  // one that fits this CPU better; nothing if `loaded` is good
  std::string asked;                  // OPENBLAS_CORETYPE as it was when BLAS was loaded; empty if it was not set
  bool asked_by_user = false;         // the user set it; it is respected
  bool reexecuted = false;            // this program started itself again, to have `asked`
  std::string why;                    // one sentence
};

/// What is known when the choice is made.
struct BlasFacts {
  std::string loaded;
  std::optional<std::string> better;
  std::optional<std::string> core_type;   // OPENBLAS_CORETYPE
  std::optional<std::string> reexecuted;  // what an earlier start of this program asked for
};

/// The choice that follows from the facts. It is final, or, if `must_reexecute`, the wish for another start.
[[nodiscard]] BlasChoice choose_blas_kernel(const BlasFacts& facts);
[[nodiscard]] bool must_reexecute(const BlasChoice& choice);

/// Chooses for this process, and starts this program again (same process, same arguments `argv`) if that makes BLAS
/// load better kernels; then it does not return. To be called before MPI is initialised. A user's own OPENBLAS_CORETYPE
/// is respected.
[[nodiscard]] BlasChoice settle_blas_kernel(char** argv);

}  // namespace conclave::apps
