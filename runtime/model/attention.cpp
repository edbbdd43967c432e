// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/attention.hpp"

#include "runtime/core/gemm.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/model/attention_head.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::model {
namespace {

constexpr double rotary_base = 10000.0;

// One sequence's share of one head: strided views into the tape.
template <class T>
AttentionHead<T> head_of(const AttentionShape& shape, AttentionTape<T>& tape, Index sequence, Index head) {
  const Range rows{sequence * shape.context, (sequence + 1) * shape.context};
  const Index size = shape.head_size();
  const auto part = [&](Index which) {
    return tape.qkv.view().row_block(rows).col_block(which * shape.width + head * size, size);
  };
  return {part(0), part(1), part(2), tape.heads_out.view().row_block(rows).col_block(head * size, size),
          tape.log_sums.row(sequence * shape.heads + head)};
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
void CausalSelfAttention<T>::check(const GroupRows& groups, const Continuation& continued,
                                   const AttentionCache<T>& cache) const {
  const auto count = static_cast<std::size_t>(groups.num_groups);
  invariant(continued.places.size() == count && continued.positions.size() == count, "{} groups of {} sequences", count,
            continued.places.size());
  for (std::size_t g = 0; g < count; ++g) {
    invariant(continued.positions[g] >= 0 && continued.positions[g] + groups.rows <= shape_.context,
              "{} tokens at position {} of a context of {}", groups.rows, continued.positions[g], shape_.context);
    invariant(continued.places[g] >= 0 && (continued.places[g] + 1) * shape_.context <= cache.keys.rows(),
              "sequence {} in a cache of {} rows", continued.places[g], cache.keys.rows());
  }
}

template <class T>
T CausalSelfAttention<T>::query_scale() const {
  return static_cast<T>(1.0 / std::sqrt(static_cast<double>(shape_.head_size())));
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
  const T scale = query_scale();
  parallel_for(num_sequences * shape_.heads, [&](Index i) {
    const AttentionHead<T> head = head_of(shape_, tape, i / shape_.heads, i % shape_.heads);
    const Range positions{0, shape_.context};
    rotate<T>(rotation, positions, T{1}, scale, head.q, head.q);
    rotate<T>(rotation, positions, T{1}, T{1}, head.k, head.k);
    attention_forward(head);
  });
  parallel_for(groups.num_groups, [&](Index i) {
    gemm_nt(tape.heads_out.view().row_block(groups.of(i)), parameters.matrix(out_), T{0}, y.row_block(groups.of(i)));
  });
}

template <class T>
void CausalSelfAttention<T>::forward(ParameterView<const T> parameters, const GroupRows& groups,
                                     const Continuation& continued, ConstMatrixView<T> x, AttentionCache<T>& cache,
                                     AttentionTape<T>& tape, MatrixView<T> y) const {
  check(groups, continued, cache);
  tape.qkv.resize(x.rows, 3 * shape_.width);
  tape.heads_out.resize(x.rows, shape_.width);
  tape.log_sums.resize(groups.num_groups * shape_.heads, groups.rows);
  parallel_for(groups.num_groups, [&](Index i) {
    gemm_nt(x.row_block(groups.of(i)), parameters.matrix(qkv_), T{0}, tape.qkv.view().row_block(groups.of(i)));
  });
  parallel_for(groups.num_groups * shape_.heads,
               [&](Index i) { extend_head(groups, continued, i / shape_.heads, i % shape_.heads, cache, tape); });
  parallel_for(groups.num_groups, [&](Index i) {
    gemm_nt(tape.heads_out.view().row_block(groups.of(i)), parameters.matrix(out_), T{0}, y.row_block(groups.of(i)));
  });
}

// One head of one sequence: new keys and values go behind those that are there, and the new queries see all.
template <class T>
void CausalSelfAttention<T>::extend_head(const GroupRows& groups, const Continuation& continued, Index group,
                                         Index head, AttentionCache<T>& cache, AttentionTape<T>& tape) const {
  const Index size = shape_.head_size();
  const Index sequence = continued.places[static_cast<std::size_t>(group)] * shape_.context;
  const Index begin = continued.positions[static_cast<std::size_t>(group)];
  const Range positions{begin, begin + groups.rows};
  const auto part = [&](Index which) {
    return tape.qkv.view().row_block(groups.of(group)).col_block(which * shape_.width + head * size, size);
  };
  const auto cached = [&](Matrix<T>& of, Range rows) {
    return of.view().row_block({sequence + rows.begin, sequence + rows.end}).col_block(head * size, size);
  };
  const Rotation<T> rotation{cosine_, sine_};
  rotate<T>(rotation, positions, T{1}, query_scale(), part(0), part(0));
  rotate<T>(rotation, positions, T{1}, T{1}, part(1), cached(cache.keys, positions));
  const MatrixView<T> values = cached(cache.values, positions);
  for (Index row = 0; row < groups.rows; ++row) std::ranges::copy(part(2).row(row), values.row(row).begin());
  const Range all{0, positions.end};
  attention_forward<T>({part(0), cached(cache.keys, all), cached(cache.values, all),
                        tape.heads_out.view().row_block(groups.of(group)).col_block(head * size, size),
                        tape.log_sums.row(group * shape_.heads + head)});
}

// The mirror image: y = o W_out^T; the heads; qkv = x W_qkv^T. Until the last of them dx holds the gradient of o.
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
    const ConstMatrixView<T> heads_out = tape.heads_out.view().row_block(groups.of(i));
    gemm_tn(dy.row_block(groups.of(i)), heads_out, T{1}, leaf.matrix(out_));
    gemm_nn(dy.row_block(groups.of(i)), parameters.matrix(out_), T{0}, dx.row_block(groups.of(i)));
  });
  const Rotation<T> rotation{cosine_, sine_};
  const T scale = query_scale();
  const auto head_backward = [&](Index i) {
    const Index sequence = i / shape_.heads;
    const Index head = i % shape_.heads;
    const MatrixView<T> d_heads_out = dx.row_block(sequence * shape_.context, shape_.context);
    attention_backward<T>(rotation, scale, d_heads_out.col_block(head * shape_.head_size(), shape_.head_size()),
                          head_of(shape_, tape, sequence, head));
  };
  parallel_for(num_sequences * shape_.heads, head_backward, [&] { gradients.make_progress(); });
  gradients.add(qkv_.range(), [&](Index i, ParameterView<T> leaf) {
    const MatrixView<T> d_qkv = tape.qkv.view().row_block(groups.of(i));
    gemm_tn(d_qkv, x.row_block(groups.of(i)), T{1}, leaf.matrix(qkv_));
    gemm_nn(d_qkv, parameters.matrix(qkv_), T{0}, dx.row_block(groups.of(i)));
  });
}

template class CausalSelfAttention<float>;
template class CausalSelfAttention<double>;

}  // namespace conclave::model
