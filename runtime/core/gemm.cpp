// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/gemm.hpp"

#include <cblas.h>

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

struct Shape {
  CBLAS_TRANSPOSE transpose_a;
  CBLAS_TRANSPOSE transpose_b;
  Index rows, cols, inner;
};

template <class T>
void product(const Shape& shape, MatrixView<const T> a, MatrixView<const T> b, T beta, MatrixView<T> c) {
  if (shape.rows == 0 || shape.cols == 0) return;
  const int m = blas_int(shape.rows);
  const int n = blas_int(shape.cols);
  const int k = blas_int(shape.inner);
  if constexpr (std::is_same_v<T, float>) {
    cblas_sgemm(CblasRowMajor, shape.transpose_a, shape.transpose_b, m, n, k, 1.0F, a.data, leading(a), b.data,
                leading(b), beta, c.data, leading(c));
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

#ifdef CONCLAVE_HAVE_OPENBLAS
void make_blas_single_threaded() { openblas_set_num_threads(1); }
std::string blas_kernel() { return openblas_get_corename(); }
std::string blas_library() { return openblas_get_config(); }
#else
void make_blas_single_threaded() {}  // the reference CBLAS has no threads; others obey OMP_NUM_THREADS inside a region
std::string blas_kernel() { return "unknown"; }
std::string blas_library() { return "unknown"; }
#endif

}  // namespace conclave
