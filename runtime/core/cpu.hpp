// SPDX-License-Identifier: BSD-3-Clause
// What this CPU is and which BLAS kernels it deserves.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace conclave {

/// The CPU's own name and the vector extensions that matter here, e.g. "AMD EPYC (avx2 fma avx512 avx512_bf16)".
[[nodiscard]] std::string cpu_description();

/// The OpenBLAS kernel set that fits this CPU best ("Cooperlake", "SkylakeX", "Zen", "Haswell"), or nothing where the
/// CPU has no more than OpenBLAS' baseline.
[[nodiscard]] std::optional<std::string> best_blas_kernel();

/// Whether `loaded` leaves vector units of this CPU unused that OpenBLAS has kernels for, and which to ask for instead
/// (the value for OPENBLAS_CORETYPE); nothing if `loaded` is good enough or unknown.
[[nodiscard]] std::optional<std::string> better_blas_kernel(std::string_view loaded);

/// Whether this CPU has the AVX-512 extensions that libraries have kernels for (F, BW, DQ and VL).
[[nodiscard]] bool has_avx512();

/// The name of a vector extension that this program was compiled for and this CPU lacks; nothing if it can run.
[[nodiscard]] std::optional<std::string> missing_cpu_feature();

}  // namespace conclave
