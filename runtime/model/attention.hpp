// SPDX-License-Identifier: BSD-3-Clause
// Multi-head causal self-attention with rotary positions.
//
//   (q, k, v) = x W_qkv^T;  q, k rotated by position (RoPE, Su et al. 2021)
//   head: o = softmax(q k^T / sqrt(head_size) + causal mask) v
//   y = (o of all heads, side by side) W_out^T
//
// Rotation pairs feature i of a head with feature i + head_size / 2 ("rotate half") and turns the pair at position p by
// p / 10000^(2i / head_size). No biases.
//
// Work is shared out over threads as (group) for the two projections and as (sequence, head) between them; what happens
// there, and the scratch it takes, is in attention_head.hpp. The tape takes (4 width + heads) sizeof(T) bytes a token;
// nothing grows with context^2, nor with context times a block.
#pragma once

#include "runtime/core/matrix.hpp"
#include "runtime/core/parameters.hpp"
#include "runtime/model/group_gradients.hpp"
#include "runtime/model/layers.hpp"
#include "runtime/model/step.hpp"

#include <string>

namespace conclave::model {

struct AttentionShape {
  Index width = 0;    // of a token; a multiple of heads
  Index heads = 0;    // of width / heads features each, an even number
  Index context = 0;  // tokens a sequence
  [[nodiscard]] Index head_size() const { return width / heads; }
};

/// What backward needs of forward; belongs to one layer and one step, its memory is used again by the next step.
template <class T>
struct AttentionTape {
  Matrix<T> qkv;        // [tokens, 3 width]: q (rotated, over sqrt(head_size)), k (rotated), v; heads side by side
  Matrix<T> heads_out;  // [tokens, width]
  Matrix<T> log_sums;   // [sequences * heads, context]: log of each query row's sum of exp(score)
};

/// What later tokens need of a layer's earlier ones.
template <class T>
struct AttentionCache {
  Matrix<T> keys, values;  // [sequences * context, width], keys rotated; heads side by side
};

template <class T>
class CausalSelfAttention {
 public:
  /// Tensors `name`/qkv [3 width, width] and `name`/out [width, width]. InputError where the shape is impossible.
  CausalSelfAttention(ParameterList& list, const std::string& name, const AttentionShape& shape, Initial qkv_initial,
                      Initial out_initial);
  [[nodiscard]] Range parameters() const { return {qkv_.offset, out_.range().end}; }

  /// y of x, both [tokens, width], overwriting y; fills the tape. Each group is a whole number of sequences. y must not
  /// overlap x. 8 width^2 + about 2 width (context + 64) flops a token.
  void forward(ParameterView<const T> parameters, const GroupRows& groups, ConstMatrixView<T> x, AttentionTape<T>& tape,
               MatrixView<T> y) const;

  /// The same for groups that go on with one sequence each (Continuation): attention of the new tokens to all up to
  /// them. Adds their keys and values to the cache. The bits of a group are its own: they depend on the sequence and on
  /// where it was cut alone. No backward. 8 width^2 + 4 width (tokens so far) flops a token.
  void forward(ParameterView<const T> parameters, const GroupRows& groups, const Continuation& continued,
               ConstMatrixView<T> x, AttentionCache<T>& cache, AttentionTape<T>& tape, MatrixView<T> y) const;

  /// Overwrites dx with the gradient of x, from dy (all [tokens, width]) and the x and tape of forward, and adds the
  /// gradients of both tensors to `gradients`. Uses the tape up: its qkv become their gradients. dx must overlap
  /// neither dy nor x.
  void backward(ParameterView<const T> parameters, const GroupRows& groups, ConstMatrixView<T> x,
                AttentionTape<T>& tape, ConstMatrixView<T> dy, MatrixView<T> dx, GroupGradients<T>& gradients) const;

 private:
  void check(const GroupRows& groups, ConstMatrixView<T> x, ConstMatrixView<T> y) const;
  void check(const GroupRows& groups, const Continuation& continued, const AttentionCache<T>& cache) const;
  void extend_head(const GroupRows& groups, const Continuation& continued, Index group, Index head,
                   AttentionCache<T>& cache, AttentionTape<T>& tape) const;
  [[nodiscard]] T query_scale() const;

  AttentionShape shape_;
  Tensor qkv_;        // [3 width, width]
  Tensor out_;        // [width, width]
  Matrix<T> cosine_;  // [context, head_size / 2]
  Matrix<T> sine_;    // [context, head_size / 2]
};

}  // namespace conclave::model
