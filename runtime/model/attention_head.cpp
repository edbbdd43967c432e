// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/attention_head.hpp"

#include "runtime/core/gemm.hpp"
#include "runtime/core/online_softmax.hpp"
#include "runtime/core/scratch.hpp"

#include <algorithm>
#include <array>

namespace conclave::model {
namespace {

Index num_blocks(Index context) { return (context + attention_block - 1) / attention_block; }

// The rows of block i.
Range block_rows(Index context, Index i) { return {i * attention_block, std::min(context, (i + 1) * attention_block)}; }

// Room for the scores of a block of queries and one of keys, or for their gradients.
template <class T>
MatrixView<T> scores_in(Scratch& scratch) {
  static_assert(attention_block % SoftmaxBlock<T>::row_padding == 0);
  return scratch.matrix<T>(attention_block, attention_block);
}
template <class T>
MatrixView<T> part(MatrixView<T> scores, Range queries, Range keys) {
  return scores.row_block(0, queries.size()).col_block(0, keys.size());
}

// A query sees its own key and those before: all of an earlier block's.
template <class T>
SoftmaxBlock<T> causal(MatrixView<T> scores, Range queries, Range keys) {
  return {scores, std::min(keys.size(), queries.begin - keys.begin + 1)};
}

template <class T>
std::span<T> part(std::span<T> values, Range rows) {
  return values.subspan(static_cast<std::size_t>(rows.begin), static_cast<std::size_t>(rows.size()));
}

}  // namespace

template <class T>
void rotate(const Rotation<T>& rotation, Range positions, T direction, T scale, ConstMatrixView<T> from,
            MatrixView<T> to) {
  const Index half = from.cols / 2;
  for (Index row = 0; row < from.rows; ++row) {
    const T* cosine = rotation.cosine.row(positions.begin + row).data();
    const T* sine = rotation.sine.row(positions.begin + row).data();
    const T* a = from.row(row).data();
    const T* b = a + half;
    T* turned_a = to.row(row).data();
    T* turned_b = turned_a + half;
    // No pair looks at another, so where `to` is `from` nothing is read after it is written.
#pragma GCC ivdep
    for (Index i = 0; i < half; ++i) {
      const T first = scale * a[i];
      const T second = scale * b[i];
      const T turn = direction * sine[i];
      turned_a[i] = first * cosine[i] - second * turn;
      turned_b[i] = first * turn + second * cosine[i];
    }
  }
}

template <class T>
void attention_forward(const AttentionHead<T>& head) {
  Scratch scratch;
  const MatrixView<T> scores = scores_in<T>(scratch);
  std::array<T, attention_block> maxima;
  std::array<T, attention_block> sums;
  const Index context = head.k.rows;
  const Index first = context - head.q.rows;  // the place of the first query
  invariant(first >= 0, "{} queries for {} keys", head.q.rows, context);
  for (Index i = first / attention_block; i < num_blocks(context); ++i) {
    const Range queries{std::max(first, block_rows(context, i).begin), block_rows(context, i).end};
    const Range rows{queries.begin - first, queries.end - first};
    const auto count = static_cast<std::size_t>(rows.size());
    const OnlineRows<T> online{std::span(maxima).first(count), std::span(sums).first(count)};
    const MatrixView<T> out = head.out.row_block(rows);
    for (Index j = 0; j <= i; ++j) {
      const Range keys = block_rows(context, j);
      const MatrixView<T> p = part(scores, queries, keys);
      gemm_nt<T>(head.q.row_block(rows), head.k.row_block(keys), T{0}, p);
      if (j == 0) {
        softmax_first_block<T>(causal(p, queries, keys), online);
      } else {
        softmax_next_block<T>(causal(p, queries, keys), online, out);
      }
      gemm_nn<T>(p, head.v.row_block(keys), j == 0 ? T{0} : T{1}, out);
    }
    softmax_finish<T>(online, out, part(head.log_sums, rows));
  }
}

// o = P v, so dv = P^T do and dP = do v^T; P = softmax(scores), so dS = P (dP - mean), mean = sum_l P_l dP_l = do . o;
// scores = q k^T, so dq = dS k and dk = dS^T q. P again from the scores and the rows' log-sums.
template <class T>
void attention_backward(const Rotation<T>& rotation, T scale, ConstMatrixView<T> d_out, const AttentionHead<T>& head) {
  const Index context = head.q.rows;
  const Index size = head.q.cols;
  Scratch scratch;
  const MatrixView<T> scores = scores_in<T>(scratch);
  const MatrixView<T> d_scores = scores_in<T>(scratch);
  const MatrixView<T> dq = scratch.matrix<T>(context, size);
  const MatrixView<T> dk_of_block = scratch.matrix<T>(attention_block, size);
  const MatrixView<T> dv_of_block = scratch.matrix<T>(attention_block, size);
  const std::span<T> means = scratch.values<T>(context);
  row_products<T>(d_out, head.out, means);
  for (Index j = 0; j < num_blocks(context); ++j) {
    const Range keys = block_rows(context, j);
    const MatrixView<T> k = head.k.row_block(keys);
    const MatrixView<T> v = head.v.row_block(keys);
    const MatrixView<T> dk = dk_of_block.row_block(0, keys.size());
    const MatrixView<T> dv = dv_of_block.row_block(0, keys.size());
    for (Index i = j; i < num_blocks(context); ++i) {
      const Range queries = block_rows(context, i);
      const MatrixView<T> q = head.q.row_block(queries);
      const MatrixView<T> p = part(scores, queries, keys);
      const MatrixView<T> ds = part(d_scores, queries, keys);
      gemm_nt<T>(q, k, T{0}, p);
      gemm_nt<T>(d_out.row_block(queries), v, T{0}, ds);
      softmax_block_backward<T>(causal(p, queries, keys), part(std::span<const T>(head.log_sums), queries),
                                part<const T>(means, queries), ds);
      const T beta = i == j ? T{0} : T{1};
      gemm_tn<T>(p, d_out.row_block(queries), beta, dv);
      gemm_tn<T>(ds, q, beta, dk);
      gemm_nn<T>(ds, k, j == 0 ? T{0} : T{1}, dq.row_block(queries));
    }
    // No later block looks at these keys.
    rotate<T>(rotation, keys, T{-1}, T{1}, dk, k);
    for (Index row = 0; row < dv.rows; ++row) std::ranges::copy(dv.row(row), v.row(row).begin());
  }
  rotate<T>(rotation, {0, context}, T{-1}, scale, dq, head.q);
}

#define CONCLAVE_INSTANTIATE(T)                                                             \
  template void rotate(const Rotation<T>&, Range, T, T, ConstMatrixView<T>, MatrixView<T>); \
  template void attention_forward(const AttentionHead<T>&);                                 \
  template void attention_backward(const Rotation<T>&, T, ConstMatrixView<T>, const AttentionHead<T>&)
CONCLAVE_INSTANTIATE(float);
CONCLAVE_INSTANTIATE(double);
#undef CONCLAVE_INSTANTIATE

}  // namespace conclave::model
