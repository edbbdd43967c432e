// SPDX-License-Identifier: BSD-3-Clause
// The dense layers between attention and experts: norm, embedding, linear map.
//
// A layer is a description: it names its tensors in a ParameterList when it is made, and holds no values and no
// activations. forward and backward work on the rows of one group, so that no GEMM's shape depends on the number of
// ranks; the caller shares the groups out over threads. What backward needs from forward, the caller keeps.
// A group's gradient of the parameters goes into a leaf of GroupGradients, with +=.
#pragma once

#include "runtime/core/matrix.hpp"
#include "runtime/core/parameters.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace conclave::model {

/// This rank's groups: `rows` tokens each, one group after another in matrices of num_groups * rows rows.
struct GroupRows {
  Index num_groups = 0;
  Index rows = 0;  // tokens a group
  [[nodiscard]] Index total_rows() const { return num_groups * rows; }
  /// The rows of local group i.
  [[nodiscard]] Range of(Index i) const { return {i * rows, (i + 1) * rows}; }
};

/// y += x for the rows of all groups, groups in parallel.
template <class T>
void add_rows(const GroupRows& groups, ConstMatrixView<T> x, MatrixView<T> y);

/// Root mean square norm (Zhang & Sennrich 2019): y = r x * gain with r = 1 / sqrt(mean(x^2) + epsilon), row by row.
template <class T>
class RmsNorm {
 public:
  /// Keeps a row of zeros finite; far below the mean square of any row that carries information.
  static constexpr double epsilon = 1e-6;

  /// One tensor, `name`: the gain [width], initially 1.
  RmsNorm(ParameterList& list, const std::string& name, Index width);
  [[nodiscard]] Range parameters() const { return gain_.range(); }

  /// y[n,width] of x[n,width], and r of each row into inverse_rms[n]. x and y may be the same memory.
  void forward(ParameterView<const T> parameters, ConstMatrixView<T> x, std::span<T> inverse_rms,
               MatrixView<T> y) const;
  /// dx[n,width] += and the gain's gradient in leaf +=, from dy[n,width] and the x and inverse_rms of forward. dy and
  /// dx must not overlap.
  void backward(ParameterView<const T> parameters, ConstMatrixView<T> x, std::span<const T> inverse_rms,
                ConstMatrixView<T> dy, MatrixView<T> dx, ParameterView<T> leaf) const;

 private:
  Tensor gain_;  // [width]
};

/// A row of a table for each token.
template <class T>
class Embedding {
 public:
  /// One tensor, `name`: the table [vocab, width].
  Embedding(ParameterList& list, const std::string& name, Index vocab, Index width, Initial initial);
  [[nodiscard]] Range parameters() const { return table_.range(); }
  /// The table, for a head that shares it.
  [[nodiscard]] Tensor table() const { return table_; }

  /// y[i,:] = table[tokens[i],:]. A token outside [0, vocab) is a broken invariant.
  void forward(ParameterView<const T> parameters, std::span<const std::int32_t> tokens, MatrixView<T> y) const;
  /// leaf.table[tokens[i],:] += dy[i,:], tokens in order.
  void backward(std::span<const std::int32_t> tokens, ConstMatrixView<T> dy, ParameterView<T> leaf) const;

 private:
  Tensor table_;  // [vocab, width]
};

/// y = x weight^T + bias.
template <class T>
class Linear {
 public:
  /// Tensors `name`/weight [outputs, inputs] and, where bias_initial is given, `name`/bias [outputs].
  Linear(ParameterList& list, const std::string& name, Index inputs, Index outputs, Initial weight_initial,
         std::optional<Initial> bias_initial = std::nullopt);
  [[nodiscard]] Range parameters() const;
  [[nodiscard]] Index outputs() const { return weight_.rows; }
  [[nodiscard]] Tensor weight() const { return weight_; }

  /// y[n,outputs] of x[n,inputs]; overwrites y.
  void forward(ParameterView<const T> parameters, ConstMatrixView<T> x, MatrixView<T> y) const;
  /// dx[n,inputs] = dy weight + beta dx (beta 0 overwrites), and the gradients of weight and bias in leaf +=, from
  /// dy[n,outputs] and the x of forward. dx must not overlap dy.
  void backward(ParameterView<const T> parameters, ConstMatrixView<T> x, ConstMatrixView<T> dy, T beta,
                MatrixView<T> dx, ParameterView<T> leaf) const;

 private:
  Tensor weight_;               // [outputs, inputs]
  std::optional<Tensor> bias_;  // [outputs]
};

}  // namespace conclave::model
