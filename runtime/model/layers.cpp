// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/layers.hpp"

#include "runtime/core/gemm.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/core/scratch.hpp"
#include "runtime/core/vector_kernels.hpp"

#include <cmath>

namespace conclave::model {
namespace {

template <class T, class U>
void check_rows(const char* what, MatrixView<T> a, MatrixView<U> b, Index width) {
  invariant(a.rows == b.rows && a.cols == width && b.cols == width, "{} of width {} given [{},{}] and [{},{}]", what,
            width, a.rows, a.cols, b.rows, b.cols);
}

template <class T>
void check_tokens(std::span<const std::int32_t> tokens, MatrixView<T> rows, const Tensor& table) {
  invariant(static_cast<Index>(tokens.size()) == rows.rows && rows.cols == table.cols,
            "embedding [{},{}] of {} tokens given [{},{}]", table.rows, table.cols, tokens.size(), rows.rows,
            rows.cols);
  for (const std::int32_t token : tokens) {
    invariant(0 <= token && token < table.rows, "token {} of a vocabulary of {}", token, table.rows);
  }
}

}  // namespace

template <class T>
void add_rows(const GroupRows& groups, ConstMatrixView<T> x, MatrixView<T> y) {
  parallel_for(groups.num_groups, [&](Index g) {
    for (Index t = groups.of(g).begin; t < groups.of(g).end; ++t) axpy<T>(T{1}, x.row(t), y.row(t));
  });
}

template <class T>
RmsNorm<T>::RmsNorm(ParameterList& list, const std::string& name, Index width)
    : gain_(list.add_vector(name, width, {.constant = 1.0})) {}

template <class T>
void RmsNorm<T>::forward(ParameterView<const T> parameters, ConstMatrixView<T> x, std::span<T> inverse_rms,
                         MatrixView<T> y) const {
  check_rows("norm", x, y, gain_.size());
  invariant(static_cast<Index>(inverse_rms.size()) == x.rows, "{} places for {} rows", inverse_rms.size(), x.rows);
  const std::span<const T> gain = parameters.vector(gain_);
  for (Index i = 0; i < x.rows; ++i) {
    const std::span<const T> from = x.row(i);
    const std::span<T> to = y.row(i);
    const double mean_square = sum_of_squares(from) / static_cast<double>(x.cols);
    const T r = static_cast<T>(1.0 / std::sqrt(mean_square + epsilon));
    inverse_rms[static_cast<std::size_t>(i)] = r;
    for (std::size_t j = 0; j < to.size(); ++j) to[j] = r * from[j] * gain[j];
  }
}

// y_j = r x_j gain_j, and dr/dx_j = -r^3 x_j / width. So dgain_j = dy_j r x_j, and with u = gain * dy
// dx_j = r u_j - x_j r^3 / width sum_l u_l x_l.
template <class T>
void RmsNorm<T>::backward(ParameterView<const T> parameters, ConstMatrixView<T> x, std::span<const T> inverse_rms,
                          ConstMatrixView<T> dy, MatrixView<T> dx, ParameterView<T> leaf) const {
  check_rows("norm", x, dx, gain_.size());
  check_rows("norm", x, dy, gain_.size());
  invariant(static_cast<Index>(inverse_rms.size()) == x.rows, "{} places for {} rows", inverse_rms.size(), x.rows);
  const std::span<const T> gain = parameters.vector(gain_);
  const std::span<T> d_gain = leaf.vector(gain_);
  Scratch scratch;
  const std::span<T> u = scratch.values<T>(gain_.size());
  for (Index i = 0; i < x.rows; ++i) {
    const std::span<const T> from = x.row(i);
    const std::span<const T> d_to = dy.row(i);
    const std::span<T> d_from = dx.row(i);
    const T r = inverse_rms[static_cast<std::size_t>(i)];
    for (std::size_t j = 0; j < u.size(); ++j) {
      u[j] = gain[j] * d_to[j];
      d_gain[j] += d_to[j] * (r * from[j]);
    }
    const T along_x = r * r * r / static_cast<T>(x.cols) * dot<T>(u, from);
    for (std::size_t j = 0; j < u.size(); ++j) d_from[j] += r * u[j] - along_x * from[j];
  }
}

template <class T>
Embedding<T>::Embedding(ParameterList& list, const std::string& name, Index vocab, Index width, Initial initial)
    : table_(list.add_matrix(name, vocab, width, initial)) {}

template <class T>
void Embedding<T>::forward(ParameterView<const T> parameters, std::span<const std::int32_t> tokens,
                           MatrixView<T> y) const {
  check_tokens(tokens, y, table_);
  const ConstMatrixView<T> table = parameters.matrix(table_);
  for (Index i = 0; i < y.rows; ++i) {
    const std::span<const T> row = table.row(tokens[static_cast<std::size_t>(i)]);
    std::copy(row.begin(), row.end(), y.row(i).begin());
  }
}

// y_i = table_token(i), so dtable_token(i) += dy_i.
template <class T>
void Embedding<T>::backward(std::span<const std::int32_t> tokens, ConstMatrixView<T> dy, ParameterView<T> leaf) const {
  check_tokens(tokens, dy, table_);
  const MatrixView<T> d_table = leaf.matrix(table_);
  for (Index i = 0; i < dy.rows; ++i) axpy(T{1}, dy.row(i), d_table.row(tokens[static_cast<std::size_t>(i)]));
}

template <class T>
Linear<T>::Linear(ParameterList& list, const std::string& name, Index inputs, Index outputs, Initial weight_initial,
                  std::optional<Initial> bias_initial)
    : weight_(list.add_matrix(name + "/weight", outputs, inputs, weight_initial)) {
  if (bias_initial) bias_ = list.add_vector(name + "/bias", outputs, *bias_initial);
}

template <class T>
Range Linear<T>::parameters() const {
  return {weight_.offset, bias_ ? bias_->range().end : weight_.range().end};
}

template <class T>
void Linear<T>::forward(ParameterView<const T> parameters, ConstMatrixView<T> x, MatrixView<T> y) const {
  gemm_nt(x, parameters.matrix(weight_), T{0}, y);
  if (bias_) add_bias(parameters.vector(*bias_), y);
}

// y = x weight^T + bias, so dweight = dy^T x, dbias = column sums of dy, dx = dy weight.
template <class T>
void Linear<T>::backward(ParameterView<const T> parameters, ConstMatrixView<T> x, ConstMatrixView<T> dy, T beta,
                         MatrixView<T> dx, ParameterView<T> leaf) const {
  gemm_tn(dy, x, T{1}, leaf.matrix(weight_));
  if (bias_) add_column_sums(dy, leaf.vector(*bias_));
  gemm_nn(dy, parameters.matrix(weight_), beta, dx);
}

template void add_rows(const GroupRows&, ConstMatrixView<float>, MatrixView<float>);
template void add_rows(const GroupRows&, ConstMatrixView<double>, MatrixView<double>);
template class RmsNorm<float>;
template class RmsNorm<double>;
template class Embedding<float>;
template class Embedding<double>;
template class Linear<float>;
template class Linear<double>;

}  // namespace conclave::model
