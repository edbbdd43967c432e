// SPDX-License-Identifier: BSD-3-Clause
#include "experts/weight.hpp"

#include "runtime/core/gemm.hpp"

namespace conclave::experts {

template <class T>
void apply_weight(const Weight& weight, const ExpertValues<T>& values, ConstMatrixView<T> x, MatrixView<T> low,
                  MatrixView<T> y) {
  if (!weight.has_delta()) {
    gemm_nt<T>(x, values.own.matrix(weight.whole), T{0}, y);
    return;
  }
  gemm_nt<T>(x, values.base.matrix(weight.whole), T{0}, y);
  gemm_nt<T>(x, values.own.matrix(weight.b), T{0}, low);
  gemm_nt<T>(low, values.own.matrix(weight.a), T{1}, y);
}

// y = x W_base^T + (x B^T) A^T: dx = dy W_base + (dy A) B
template <class T>
void apply_weight_backward(const Weight& weight, const ExpertValues<T>& values, ConstMatrixView<T> dy,
                           MatrixView<T> d_low, T beta, MatrixView<T> dx) {
  if (!weight.has_delta()) {
    gemm_nn<T>(dy, values.own.matrix(weight.whole), beta, dx);
    return;
  }
  gemm_nn<T>(dy, values.base.matrix(weight.whole), beta, dx);
  gemm_nn<T>(dy, values.own.matrix(weight.a), T{0}, d_low);
  gemm_nn<T>(d_low, values.own.matrix(weight.b), T{1}, dx);
}

template <class T>
void own_gradient(const Weight& weight, const WeightRows<T>& rows, bool accumulate, ParameterView<T> gradient) {
  const T beta = accumulate ? T{1} : T{0};
  if (!weight.has_delta()) {
    gemm_tn<T>(rows.dy, rows.x, beta, gradient.matrix(weight.whole));
    return;
  }
  gemm_tn<T>(rows.dy, rows.low, beta, gradient.matrix(weight.a));
  gemm_tn<T>(rows.d_low, rows.x, beta, gradient.matrix(weight.b));
}

template <class T>
void add_base_gradient(const Weight& weight, ConstMatrixView<T> x, ConstMatrixView<T> dy,
                       ParameterView<T> base_gradient) {
  gemm_tn<T>(dy, x, T{1}, base_gradient.matrix(weight.whole));
}

#define CONCLAVE_INSTANTIATE(T)                                                                                       \
  template void apply_weight<T>(const Weight&, const ExpertValues<T>&, ConstMatrixView<T>, MatrixView<T>,             \
                                MatrixView<T>);                                                                       \
  template void apply_weight_backward<T>(const Weight&, const ExpertValues<T>&, ConstMatrixView<T>, MatrixView<T>, T, \
                                         MatrixView<T>);                                                              \
  template void own_gradient<T>(const Weight&, const WeightRows<T>&, bool, ParameterView<T>);                         \
  template void add_base_gradient<T>(const Weight&, ConstMatrixView<T>, ConstMatrixView<T>, ParameterView<T>);
CONCLAVE_INSTANTIATE(float)
CONCLAVE_INSTANTIATE(double)
#undef CONCLAVE_INSTANTIATE

}  // namespace conclave::experts
