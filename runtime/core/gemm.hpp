// SPDX-License-Identifier: BSD-3-Clause
// Matrix products: the only door to BLAS and to oneDNN.
//
// These libraries round a row differently depending on how many rows share the call and on the number of threads. So
// every call runs on one thread, and callers choose shapes that depend neither on the number of ranks nor of threads.
#pragma once

#include "runtime/core/matrix.hpp"
#include "runtime/core/options.hpp"

#include <array>
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

/// Which library computes products of float. Those of double are BLAS' in any case: oneDNN has none.
enum class GemmBackend { openblas, onednn };

inline constexpr std::array<EnumName<GemmBackend>, 2> enum_names(GemmBackend) {
  return {{{GemmBackend::openblas, "openblas"}, {GemmBackend::onednn, "onednn"}}};
}

/// Whether this program was built with the library. BLAS it always has: OpenBLAS or another CBLAS.
[[nodiscard]] bool has_gemm_backend(GemmBackend backend);
/// oneDNN where this program was built with it and the CPU has AVX-512: there it packs less than BLAS and is 10 to 70 %
/// faster; with AVX2 alone its products of an untransposed second matrix run at half of BLAS' speed. A fixed rule, so
/// that no timing decides about bits.
[[nodiscard]] GemmBackend default_gemm_backend();
/// For the whole process, from the next product on. InputError if this program was built without the library.
void use_gemm_backend(GemmBackend backend);
[[nodiscard]] GemmBackend gemm_backend();

/// Makes both libraries run each call on its caller's thread. To be called once, before the first product.
void make_blas_single_threaded();

/// The backend in use, its version and the kernels that its bits depend on, in one line.
[[nodiscard]] std::string gemm_library();

/// The kernel set that the loaded BLAS library chose for this CPU ("SkylakeX"), or "unknown" where the library cannot
/// tell (any CBLAS other than OpenBLAS).
[[nodiscard]] std::string blas_kernel();

/// BLAS' own description of its version and build, or "unknown".
[[nodiscard]] std::string blas_library();

}  // namespace conclave
