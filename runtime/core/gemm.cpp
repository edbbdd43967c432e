// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/gemm.hpp"

#include "runtime/core/cpu.hpp"

#include <cblas.h>
#ifdef CONCLAVE_HAVE_ONEDNN
#include <dnnl.h>
#endif
#include <omp.h>

#include <atomic>
#include <limits>

namespace conclave {
namespace {

int blas_int(Index value) {
  invariant(0 <= value && value <= std::numeric_limits<int>::max(), "a matrix dimension of {} does not fit BLAS' int",
            value);
  return static_cast<int>(value);
}

// The leading dimension of a matrix with one row may be anything in a view, but BLAS checks it.
template <class T>
int leading(MatrixView<T> m) {
  return blas_int(std::max<Index>({m.ld, m.cols, 1}));
}

std::atomic<GemmBackend> backend_in_use{default_gemm_backend()};

struct Shape {
  CBLAS_TRANSPOSE transpose_a;
  CBLAS_TRANSPOSE transpose_b;
  Index rows, cols, inner;
};

#ifdef CONCLAVE_HAVE_ONEDNN
void onednn_product(const Shape& shape, MatrixView<const float> a, MatrixView<const float> b, float beta,
                    MatrixView<float> c) {
  const auto letter = [](CBLAS_TRANSPOSE t) { return t == CblasTrans ? 'T' : 'N'; };
  const dnnl_status_t status =
      dnnl_sgemm(letter(shape.transpose_a), letter(shape.transpose_b), shape.rows, shape.cols, shape.inner, 1.0F,
                 a.data, leading(a), b.data, leading(b), beta, c.data, leading(c));
  invariant(status == dnnl_success, "oneDNN's product of [{},{}] over {} failed with status {}", shape.rows, shape.cols,
            shape.inner, static_cast<int>(status));
}
#else
void onednn_product(const Shape&, MatrixView<const float>, MatrixView<const float>, float, MatrixView<float>) {
  invariant(false, "a product by oneDNN, which this program was built without");
}
#endif

template <class T>
void product(const Shape& shape, MatrixView<const T> a, MatrixView<const T> b, T beta, MatrixView<T> c) {
  if (shape.rows == 0 || shape.cols == 0) return;
  const int m = blas_int(shape.rows);
  const int n = blas_int(shape.cols);
  const int k = blas_int(shape.inner);
  if constexpr (std::is_same_v<T, float>) {
    if (gemm_backend() == GemmBackend::onednn && k > 0) {  // of an empty sum oneDNN writes nothing, not even beta C
      onednn_product(shape, a, b, beta, c);
    } else {
      cblas_sgemm(CblasRowMajor, shape.transpose_a, shape.transpose_b, m, n, k, 1.0F, a.data, leading(a), b.data,
                  leading(b), beta, c.data, leading(c));
    }
  } else {
    cblas_dgemm(CblasRowMajor, shape.transpose_a, shape.transpose_b, m, n, k, 1.0, a.data, leading(a), b.data,
                leading(b), beta, c.data, leading(c));
  }
}

}  // namespace

template <class T>
void gemm_nt(std::type_identity_t<ConstMatrixView<T>> x, std::type_identity_t<ConstMatrixView<T>> w, T beta,
             MatrixView<T> y) {
  invariant(x.cols == w.cols && y.rows == x.rows && y.cols == w.rows, "gemm_nt of [{},{}] and [{},{}] into [{},{}]",
            x.rows, x.cols, w.rows, w.cols, y.rows, y.cols);
  product<T>({CblasNoTrans, CblasTrans, x.rows, w.rows, x.cols}, x, w, beta, y);
}

template <class T>
void gemm_nn(std::type_identity_t<ConstMatrixView<T>> x, std::type_identity_t<ConstMatrixView<T>> w, T beta,
             MatrixView<T> y) {
  invariant(x.cols == w.rows && y.rows == x.rows && y.cols == w.cols, "gemm_nn of [{},{}] and [{},{}] into [{},{}]",
            x.rows, x.cols, w.rows, w.cols, y.rows, y.cols);
  product<T>({CblasNoTrans, CblasNoTrans, x.rows, w.cols, x.cols}, x, w, beta, y);
}

template <class T>
void gemm_tn(std::type_identity_t<ConstMatrixView<T>> a, std::type_identity_t<ConstMatrixView<T>> b, T beta,
             MatrixView<T> y) {
  invariant(a.rows == b.rows && y.rows == a.cols && y.cols == b.cols, "gemm_tn of [{},{}] and [{},{}] into [{},{}]",
            a.rows, a.cols, b.rows, b.cols, y.rows, y.cols);
  product<T>({CblasTrans, CblasNoTrans, a.cols, b.cols, a.rows}, a, b, beta, y);
}

#define CONCLAVE_INSTANTIATE(T)                                                                                \
  template void gemm_nt(std::type_identity_t<ConstMatrixView<T>>, std::type_identity_t<ConstMatrixView<T>>, T, \
                        MatrixView<T>);                                                                        \
  template void gemm_nn(std::type_identity_t<ConstMatrixView<T>>, std::type_identity_t<ConstMatrixView<T>>, T, \
                        MatrixView<T>);                                                                        \
  template void gemm_tn(std::type_identity_t<ConstMatrixView<T>>, std::type_identity_t<ConstMatrixView<T>>, T, \
                        MatrixView<T>)
CONCLAVE_INSTANTIATE(float);
CONCLAVE_INSTANTIATE(double);
#undef CONCLAVE_INSTANTIATE

bool has_gemm_backend([[maybe_unused]] GemmBackend backend) {
#ifdef CONCLAVE_HAVE_ONEDNN
  return true;
#else
  return backend == GemmBackend::openblas;
#endif
}

GemmBackend default_gemm_backend() {
  return has_gemm_backend(GemmBackend::onednn) && has_avx512() ? GemmBackend::onednn : GemmBackend::openblas;
}

void use_gemm_backend(GemmBackend backend) {
  if (!has_gemm_backend(backend)) {
    throw InputError(fmt::format("gemm = {}, but this program was built without that library", name_of(backend)),
                     "give --gemm openblas, or build again where oneDNN is installed (Debian: libdnnl-dev); the bits "
                     "of the two differ");
  }
  backend_in_use.store(backend, std::memory_order_relaxed);
}

GemmBackend gemm_backend() { return backend_in_use.load(std::memory_order_relaxed); }

void make_blas_single_threaded() {
  omp_set_num_threads(1);  // for oneDNN; parallel_for asks for its threads itself
#ifdef CONCLAVE_HAVE_OPENBLAS
  openblas_set_num_threads(1);
#endif
}

#ifdef CONCLAVE_HAVE_OPENBLAS
std::string blas_kernel() { return openblas_get_corename(); }
std::string blas_library() { return openblas_get_config(); }
#else
std::string blas_kernel() { return "unknown"; }
std::string blas_library() { return "unknown"; }
#endif

std::string gemm_library() {
#ifdef CONCLAVE_HAVE_ONEDNN
  if (gemm_backend() == GemmBackend::onednn) {
    const dnnl_version_t& version = *dnnl_version();
    return fmt::format("oneDNN {}.{}.{}, instruction set {:#x}", version.major, version.minor, version.patch,
                       static_cast<unsigned>(dnnl_get_effective_cpu_isa()));
  }
#endif
  return fmt::format("{}, kernels {}", blas_library(), blas_kernel());
}

}  // namespace conclave
