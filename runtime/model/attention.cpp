// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/attention.hpp"

#include "runtime/core/gemm.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/core/vector_kernels.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace conclave::model {
namespace {

// Query rows whose scores exist at one time: enough for an efficient GEMM, few enough that scores stay in the cache.
constexpr Index query_block = 64;

constexpr double rotary_base = 10000.0;

// One sequence's share of one head: strided views [context, head_size] into the tape.
template <class T>
struct Head {
  MatrixView<T> q, k, v, out;
  std::span<T> log_sums;  // [context]
};

template <class T>
Head<T> head_of(const AttentionShape& shape, AttentionTape<T>& tape, Index sequence, Index head) {
  const Index size = shape.head_size();
  const MatrixView<T> qkv = tape.qkv.view().row_block(sequence * shape.context, shape.context);
  const auto part = [&](Index which) { return qkv.col_block(which * shape.width + head * size, size); };
  return {part(0), part(1), part(2),
          tape.heads_out.view().row_block(sequence * shape.context, shape.context).col_block(head * size, size),
          tape.log_sums.row(sequence * shape.heads + head)};
}

template <class T>
struct Rotation {
  ConstMatrixView<T> cosine, sine;  // [context, head_size / 2]
};

// Row p of x [context, head_size]: (a, b) = scale (a cos - b sin, a sin + b cos) for its two halves a and b; by the
// opposite angle for direction = -1.
template <class T>
void rotate(const Rotation<T>& rotation, T direction, T scale, MatrixView<T> x) {
  const Index half = x.cols / 2;
  for (Index p = 0; p < x.rows; ++p) {
    const T* cosine = rotation.cosine.row(p).data();
    const T* sine = rotation.sine.row(p).data();
    T* a = x.row(p).data();
    T* b = a + half;
    for (Index i = 0; i < half; ++i) {
      const T first = scale * a[i];
      const T second = scale * b[i];
      const T turn = direction * sine[i];
      a[i] = first * cosine[i] - second * turn;
      b[i] = first * turn + second * cosine[i];
    }
  }
}

template <class T>
void copy_rows(ConstMatrixView<T> from, MatrixView<T> to) {
  for (Index i = 0; i < from.rows; ++i) std::copy_n(from.row(i).data(), from.cols, to.row(i).data());
}

// The query rows [first, first + rows) of a sequence see the keys [0, keys).
struct Block {
  Index first, rows, keys;
};

Block block_of(Index context, Index i) {
  const Index end = std::min(context, (i + 1) * query_block);
  return {i * query_block, end - i * query_block, end};
}

Index num_blocks(Index context) { return (context + query_block - 1) / query_block; }

template <class T>
MatrixView<T> block_scratch(Matrix<T>& scratch, const Block& block) {
  scratch.resize(block.rows, block.keys);
  return scratch;
}

// Scores of the keys after a row's own: their exponential is exactly zero, so they add nothing to any sum.
template <class T>
void mask(const Block& block, MatrixView<T> scores) {
  for (Index row = 0; row < block.rows; ++row) {
    const auto seen = static_cast<std::size_t>(block.first + row + 1);
    std::ranges::fill(scores.row(row).subspan(seen), -std::numeric_limits<T>::infinity());
  }
}

// P = softmax(q k^T + mask), o = P v.
template <class T>
void forward_head(const Head<T>& head) {
  thread_local Matrix<T> scratch;
  const Index context = head.q.rows;
  for (Index i = 0; i < num_blocks(context); ++i) {
    const Block block = block_of(context, i);
    const MatrixView<T> scores = block_scratch(scratch, block);
    gemm_nt<T>(head.q.row_block(block.first, block.rows), head.k.row_block(0, block.keys), T{0}, scores);
    mask(block, scores);
    softmax_rows<T>(scores, scores,
                    head.log_sums.subspan(static_cast<std::size_t>(block.first), static_cast<std::size_t>(block.rows)));
    gemm_nn<T>(scores, head.v.row_block(0, block.keys), T{0}, head.out.row_block(block.first, block.rows));
  }
}

// P again from scores = q k^T and the rows' log-sums; then, in place of dP, the scores' gradient
// dS = P (dP - sum_l P_l dP_l). The sum equals FlashAttention's do . o; as whole rows are here, o is not needed.
template <class T>
void scores_backward(const Block& block, std::span<const T> log_sums, MatrixView<T> scores, MatrixView<T> dp) {
  mask(block, scores);
  for (Index row = 0; row < block.rows; ++row) {
    const std::span<T> p = scores.row(row);
    const std::span<T> ds = dp.row(row);
    exp_shifted(log_sums[static_cast<std::size_t>(block.first + row)], p);
    const T mean = dot<T>(p, ds);
    for (std::size_t l = 0; l < p.size(); ++l) ds[l] = p[l] * (ds[l] - mean);
  }
}

// o = P v, so dP = do v^T and dv = P^T do; scores = q k^T, so dq = dS k and dk = dS^T q. On entry head.out holds do;
// the gradients of q, k and v take their places.
template <class T>
void backward_head(const Rotation<T>& rotation, T scale, const Head<T>& head) {
  thread_local Matrix<T> score_scratch, dp_scratch, gradient;
  const Index context = head.q.rows;
  gradient.resize(3 * context, head.q.cols);
  const MatrixView<T> dq = gradient.view().row_block(0, context);
  const MatrixView<T> dk = gradient.view().row_block(context, context);
  const MatrixView<T> dv = gradient.view().row_block(2 * context, context);
  // From the last block, which sees all keys and so writes all rows of dk and dv, to the first; the others add.
  for (Index i = num_blocks(context) - 1; i >= 0; --i) {
    const Block block = block_of(context, i);
    const T beta = block.keys == context ? T{0} : T{1};
    const MatrixView<T> q = head.q.row_block(block.first, block.rows);
    const MatrixView<T> d_out = head.out.row_block(block.first, block.rows);
    const MatrixView<T> k = head.k.row_block(0, block.keys);
    const MatrixView<T> scores = block_scratch(score_scratch, block);
    const MatrixView<T> dp = block_scratch(dp_scratch, block);
    gemm_nt<T>(q, k, T{0}, scores);
    gemm_nt<T>(d_out, head.v.row_block(0, block.keys), T{0}, dp);
    scores_backward<T>(block, head.log_sums, scores, dp);
    gemm_tn<T>(scores, d_out, beta, dv.row_block(0, block.keys));
    gemm_tn<T>(dp, q, beta, dk.row_block(0, block.keys));
    gemm_nn<T>(dp, k, T{0}, dq.row_block(block.first, block.rows));
  }
  rotate<T>(rotation, T{-1}, scale, dq);
  rotate<T>(rotation, T{-1}, T{1}, dk);
  copy_rows<T>(dq, head.q);
  copy_rows<T>(dk, head.k);
  copy_rows<T>(dv, head.v);
}

void check_shape(const AttentionShape& shape) {
  const bool positive = shape.width > 0 && shape.heads > 0 && shape.context > 0;
  if (!positive) {
    throw InputError(
        fmt::format("attention of width {}, {} heads and context {}", shape.width, shape.heads, shape.context),
        "Each of the three must be at least 1.");
  }
  if (shape.width % shape.heads != 0 || shape.head_size() % 2 != 0) {
    throw InputError(fmt::format("{} attention heads cannot share a width of {}", shape.heads, shape.width),
                     "Choose a width that is an even multiple of the number of heads: rotary positions turn pairs of "
                     "a head's features.");
  }
}

}  // namespace

template <class T>
CausalSelfAttention<T>::CausalSelfAttention(ParameterList& list, const std::string& name, const AttentionShape& shape,
                                            Initial qkv_initial, Initial out_initial)
    : shape_(shape) {
  check_shape(shape);
  qkv_ = list.add_matrix(name + "/qkv", 3 * shape.width, shape.width, qkv_initial);
  out_ = list.add_matrix(name + "/out", shape.width, shape.width, out_initial);
  const Index half = shape.head_size() / 2;
  cosine_.resize(shape.context, half);
  sine_.resize(shape.context, half);
  for (Index p = 0; p < shape.context; ++p) {
    for (Index i = 0; i < half; ++i) {
      const double speed = std::pow(rotary_base, -static_cast<double>(i) / static_cast<double>(half));
      cosine_(p, i) = static_cast<T>(std::cos(static_cast<double>(p) * speed));
      sine_(p, i) = static_cast<T>(std::sin(static_cast<double>(p) * speed));
    }
  }
}

template <class T>
void CausalSelfAttention<T>::check(const GroupRows& groups, ConstMatrixView<T> x, ConstMatrixView<T> y) const {
  invariant(groups.rows % shape_.context == 0, "groups of {} tokens for sequences of {}", groups.rows, shape_.context);
  invariant(x.rows == groups.total_rows() && y.rows == x.rows && x.cols == shape_.width && y.cols == shape_.width,
            "attention of width {} on {} groups of {} given [{},{}] and [{},{}]", shape_.width, groups.num_groups,
            groups.rows, x.rows, x.cols, y.rows, y.cols);
}

template <class T>
void CausalSelfAttention<T>::forward(ParameterView<const T> parameters, const GroupRows& groups, ConstMatrixView<T> x,
                                     AttentionTape<T>& tape, MatrixView<T> y) const {
  check(groups, x, y);
  const Index num_sequences = x.rows / shape_.context;
  tape.qkv.resize(x.rows, 3 * shape_.width);
  tape.heads_out.resize(x.rows, shape_.width);
  tape.log_sums.resize(num_sequences * shape_.heads, shape_.context);

  parallel_for(groups.num_groups, [&](Index i) {
    gemm_nt(x.row_block(groups.of(i)), parameters.matrix(qkv_), T{0}, tape.qkv.view().row_block(groups.of(i)));
  });
  const Rotation<T> rotation{cosine_, sine_};
  const T scale = static_cast<T>(1.0 / std::sqrt(static_cast<double>(shape_.head_size())));
  parallel_for(num_sequences * shape_.heads, [&](Index i) {
    const Head<T> head = head_of(shape_, tape, i / shape_.heads, i % shape_.heads);
    rotate<T>(rotation, T{1}, scale, head.q);
    rotate<T>(rotation, T{1}, T{1}, head.k);
    forward_head(head);
  });
  parallel_for(groups.num_groups, [&](Index i) {
    gemm_nt(tape.heads_out.view().row_block(groups.of(i)), parameters.matrix(out_), T{0}, y.row_block(groups.of(i)));
  });
}

// The mirror image: y = o W_out^T; the heads; qkv = x W_qkv^T.
template <class T>
void CausalSelfAttention<T>::backward(ParameterView<const T> parameters, const GroupRows& groups, ConstMatrixView<T> x,
                                      AttentionTape<T>& tape, ConstMatrixView<T> dy, MatrixView<T> dx,
                                      GroupGradients<T>& gradients) const {
  check(groups, x, dy);
  check(groups, x, dx);
  const Index num_sequences = x.rows / shape_.context;
  invariant(tape.qkv.rows() == x.rows && tape.heads_out.rows() == x.rows,
            "attention's backward of {} tokens on a tape of {}", x.rows, tape.qkv.rows());

  gradients.add(out_.range(), [&](Index i, ParameterView<T> leaf) {
    const MatrixView<T> heads_out = tape.heads_out.view().row_block(groups.of(i));
    gemm_tn(dy.row_block(groups.of(i)), heads_out, T{1}, leaf.matrix(out_));
    gemm_nn(dy.row_block(groups.of(i)), parameters.matrix(out_), T{0}, heads_out);  // from here on its gradient
  });
  const Rotation<T> rotation{cosine_, sine_};
  const T scale = static_cast<T>(1.0 / std::sqrt(static_cast<double>(shape_.head_size())));
  parallel_for(num_sequences * shape_.heads, [&](Index i) {
    backward_head(rotation, scale, head_of(shape_, tape, i / shape_.heads, i % shape_.heads));
  });
  gradients.add(qkv_.range(), [&](Index i, ParameterView<T> leaf) {
    const MatrixView<T> d_qkv = tape.qkv.view().row_block(groups.of(i));
    gemm_tn(d_qkv, x.row_block(groups.of(i)), T{1}, leaf.matrix(qkv_));
    gemm_nn(d_qkv, parameters.matrix(qkv_), T{0}, dx.row_block(groups.of(i)));
  });
}

template class CausalSelfAttention<float>;
template class CausalSelfAttention<double>;

}  // namespace conclave::model
