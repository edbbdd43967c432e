// SPDX-License-Identifier: BSD-3-Clause
// Softmax of rows whose columns come block after block and are never all there at once (Milakov & Gimelshein 2018).
// After each block, with m the largest z so far:
//   m' = max(m, max_j z_j);  f = exp(m - m');  s' = f s + sum_j exp(z_j - m')
// and what was summed with weights exp(z_j - m) is multiplied by f. In the end the weights are divided by s.
//
// Blocks come in one fixed order, so a row's bits depend on its columns and on where they are cut alone.
#pragma once

#include "runtime/core/matrix.hpp"

#include <span>

namespace conclave {

/// One block of a softmax: the rows' columns, of which row i sees the first min(cols, first_row_sees + i), at least
/// one. Kernels work on whole vectors: what lies between a row's end and the next multiple of row_padding is
/// overwritten, so rows begin at least that far apart.
template <class T>
struct SoftmaxBlock {
  static constexpr Index row_padding = 16;  // elements
  MatrixView<T> values;
  Index first_row_sees = 0;
  [[nodiscard]] Index seen_by(Index row) const { return std::min(values.cols, first_row_sees + row); }
};

/// What the columns seen so far have left of each row.
template <class T>
struct OnlineRows {
  std::span<T> maxima;  // [rows] m
  std::span<T> sums;    // [rows] s
};

/// The first block: in place of z, exp(z - m), and 0 where a row does not see it.
template <class T>
void softmax_first_block(const SoftmaxBlock<T>& block, const OnlineRows<T>& rows);

/// A later one: the same; and each row of `summed` [rows, any] is multiplied by its f.
template <class T>
void softmax_next_block(const SoftmaxBlock<T>& block, const OnlineRows<T>& rows, MatrixView<T> summed);

/// After the last block: summed[i,:] /= s_i, and log_sums[i] = m_i + log s_i.
template <class T>
void softmax_finish(const OnlineRows<T>& rows, MatrixView<T> summed, std::span<T> log_sums);

/// The backward of o = softmax(z) v for one block: in place of z its softmax p = exp(z - log_sums), and in place of
/// dp = do v^T the gradient of z, p (dp - mean) with mean_i = sum_j p_ij dp_ij = do_i . o_i (Dao et al. 2022). Both 0
/// where a row does not see it. z and dp have the same shape.
template <class T>
void softmax_block_backward(const SoftmaxBlock<T>& block, std::span<const T> log_sums, std::span<const T> means,
                            MatrixView<T> dp);

/// products[i] = a[i,:] . b[i,:].
template <class T>
void row_products(ConstMatrixView<T> a, ConstMatrixView<T> b, std::span<T> products);

}  // namespace conclave
