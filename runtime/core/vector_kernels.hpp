// SPDX-License-Identifier: BSD-3-Clause
// Element-wise and row-wise kernels with their backward, vectorised by xsimd. For one CPU type the result of an element
// does not depend on its place in the array, on alignment, or on threads; sums run in one fixed order.
#pragma once

#include "runtime/core/matrix.hpp"

#include <span>

namespace conclave {

/// y[i,:] += bias[:].
template <class T>
void add_bias(std::span<const T> bias, MatrixView<T> y);

/// db[:] += sum_i dy[i,:], rows in order. The backward of add_bias.
template <class T>
void add_column_sums(ConstMatrixView<T> dy, std::span<T> db);

/// y += alpha x.
template <class T>
void axpy(T alpha, std::span<const T> x, std::span<T> y);

/// y = alpha x.
template <class T>
void scaled_copy(T alpha, std::span<const T> x, std::span<T> y);

/// z = x y, element-wise. z may be the memory of x or y.
template <class T>
void product(std::span<const T> x, std::span<const T> y, std::span<T> z);

/// sum_i x_i y_i, in an order that depends on the length alone.
template <class T>
[[nodiscard]] T dot(std::span<const T> x, std::span<const T> y);

/// sum_i x_i^2 in float64, in an order that depends on the length alone.
template <class T>
[[nodiscard]] double sum_of_squares(std::span<const T> x);

/// p[i,:] = softmax(z[i,:]) and log_sums[i] = log sum_j exp z[i,j]. log_sums may be empty: then it is not written.
/// z and p may be the same memory.
template <class T>
void softmax_rows(ConstMatrixView<T> z, MatrixView<T> p, std::span<T> log_sums = {});
/// dz[i,j] += p[i,j] (dp[i,j] - sum_l p[i,l] dp[i,l]), the difference in float64: where one p is nearly 1 it is what
/// remains of two nearly equal numbers.
template <class T>
void softmax_rows_backward(ConstMatrixView<T> p, ConstMatrixView<T> dp, MatrixView<T> dz);

/// y = 1 / (1 + exp(-x)). x and y may be the same memory.
template <class T>
void sigmoid(std::span<const T> x, std::span<T> y);

/// x = exp(x - shift), element-wise.
template <class T>
void exp_shifted(T shift, std::span<T> x);

}  // namespace conclave
