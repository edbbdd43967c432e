// SPDX-License-Identifier: BSD-3-Clause
// One head of causal attention over one sequence, block by block (FlashAttention, Dao et al. 2022):
//
//   o = softmax(q k^T + causal mask) v
//
// Scores exist for one block of query rows against one block of keys at a time; the softmax over a row's blocks is
// taken online. Blocks of keys that no row of a block sees are never looked at. All blocks come in ascending order, so
// the bits depend on the sequence alone.
//
// Cost: context + 64 (forward) and 2.5 times that (backward) multiplications and additions a row and feature.
// Memory: 64^2 sizeof(T) bytes of scratch a thread for forward; (2 * 64^2 + (context + 2 * 64) head_size) sizeof(T) for
// backward. A pair of blocks moves its 16 KiB of scores (float, four times in backward) and stays in the first cache.
#pragma once

#include "runtime/core/matrix.hpp"

#include <span>

namespace conclave::model {

/// Rows of queries, and rows of keys, whose scores exist at one time: enough for an efficient GEMM, few enough that
/// scores stay in the first cache.
inline constexpr Index attention_block = 64;

/// The angles that positions turn pairs of features by.
template <class T>
struct Rotation {
  ConstMatrixView<T> cosine, sine;  // [context, head_size / 2]
};

/// to = row p of `from` [context, head_size], turned by p's angles for direction = 1, back for -1, and scaled:
/// (a, b) -> scale (a cos - b sin, a sin + b cos) for its two halves a and b. `positions` are the rows' places in the
/// sequence. The two may be the same memory.
template <class T>
void rotate(const Rotation<T>& rotation, Range positions, T direction, T scale, ConstMatrixView<T> from,
            MatrixView<T> to);

/// Strided views of the head's share, each [context, head_size]. Forward may have queries, and `out`, for the last rows
/// of k and v only: those of earlier rows are not asked for again.
template <class T>
struct AttentionHead {
  MatrixView<T> q, k, v;  // q and k rotated, q over sqrt(head_size)
  MatrixView<T> out;
  std::span<T> log_sums;  // [queries] log of each query row's sum of exp(score)
};

/// Writes head.out and head.log_sums. Blocks of rows are cut by their places in the sequence, whatever the first query.
template <class T>
void attention_forward(const AttentionHead<T>& head);

/// From d_out [context, head_size]: in place of q, k and v the gradients of what they were before rotation and scaling.
template <class T>
void attention_backward(const Rotation<T>& rotation, T scale, ConstMatrixView<T> d_out, const AttentionHead<T>& head);

}  // namespace conclave::model
