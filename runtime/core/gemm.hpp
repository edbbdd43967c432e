// SPDX-License-Identifier: BSD-3-Clause
// Matrix products in BLAS: the only door to it.
//
// OpenBLAS rounds a row differently depending on how many rows share the call and on the number of threads. So every
// call runs on one thread, and callers choose shapes that depend neither on the number of ranks nor of threads.
#pragma once

#include "runtime/core/matrix.hpp"

#include <string>
#include <type_traits>

namespace conclave {

/// y[n,m] = x[n,k] w[m,k]^T + beta y. The forward of a linear layer. 2nmk flops.
template <class T>
void gemm_nt(std::type_identity_t<ConstMatrixView<T>> x, std::type_identity_t<ConstMatrixView<T>> w, T beta,
             MatrixView<T> y);

/// y[n,k] = x[n,m] w[m,k] + beta y. The input gradient of a linear layer. 2nmk flops.
template <class T>
void gemm_nn(std::type_identity_t<ConstMatrixView<T>> x, std::type_identity_t<ConstMatrixView<T>> w, T beta,
             MatrixView<T> y);

/// y[m,k] = a[n,m]^T b[n,k] + beta y. The weight gradient of a linear layer. 2nmk flops.
template <class T>
void gemm_tn(std::type_identity_t<ConstMatrixView<T>> a, std::type_identity_t<ConstMatrixView<T>> b, T beta,
             MatrixView<T> y);

/// Makes BLAS run each call on its caller's thread. To be called once, before the first product.
void make_blas_single_threaded();

/// The kernel set that the loaded BLAS library chose for this CPU ("SkylakeX"), or "unknown" where the library cannot
/// tell (any CBLAS other than OpenBLAS).
[[nodiscard]] std::string blas_kernel();

/// The library's own description of its version and build, or "unknown".
[[nodiscard]] std::string blas_library();

}  // namespace conclave
