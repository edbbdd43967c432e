// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/loss.hpp"

#include "runtime/core/vector_kernels.hpp"

#include <algorithm>

namespace conclave::model {
namespace {

template <class T>
void check_targets(MatrixView<T> logits, std::span<const std::int32_t> targets) {
  invariant(static_cast<Index>(targets.size()) == logits.rows, "{} targets for {} rows of logits", targets.size(),
            logits.rows);
  for (const std::int32_t target : targets) {
    invariant(0 <= target && target < logits.cols, "target {} among {} logits", target, logits.cols);
  }
}

// Adds row z[1, vocab] to the sums; p[1, vocab] = softmax(z). z and p may be the same memory.
template <class T>
void add_row(MatrixView<const T> z, std::int32_t target, MatrixView<T> p, LossSums& sums) {
  const std::span<const T> row = z.row(0);
  const auto largest = std::max_element(row.begin(), row.end()) - row.begin();
  const double at_target = row[static_cast<std::size_t>(target)];
  T log_sum{};
  softmax_rows<T>(z, p, {&log_sum, 1});
  sums.nats += static_cast<double>(log_sum) - at_target;
  sums.correct += largest == target ? 1 : 0;
}

}  // namespace

template <class T>
LossSums cross_entropy(ConstMatrixView<T> logits, std::span<const std::int32_t> targets) {
  check_targets(logits, targets);
  LossSums sums;
  Matrix<T> p;  // [1, vocab]
  p.resize(1, logits.cols);
  for (Index i = 0; i < logits.rows; ++i) {
    add_row<T>(logits.row_block(i, 1), targets[static_cast<std::size_t>(i)], p, sums);
  }
  return sums;
}

template <class T>
LossSums cross_entropy_and_gradient(MatrixView<T> logits, std::span<const std::int32_t> targets, double scale) {
  check_targets(logits, targets);
  LossSums sums;
  for (Index i = 0; i < logits.rows; ++i) {
    const MatrixView<T> row = logits.row_block(i, 1);
    const std::int32_t target = targets[static_cast<std::size_t>(i)];
    add_row<T>(row, target, row, sums);
    row(0, target) -= T{1};
    for (T& value : row.row(0)) value *= static_cast<T>(scale);
  }
  return sums;
}

#define CONCLAVE_INSTANTIATE(T)                                                       \
  template LossSums cross_entropy(ConstMatrixView<T>, std::span<const std::int32_t>); \
  template LossSums cross_entropy_and_gradient(MatrixView<T>, std::span<const std::int32_t>, double)
CONCLAVE_INSTANTIATE(float);
CONCLAVE_INSTANTIATE(double);
#undef CONCLAVE_INSTANTIATE

}  // namespace conclave::model
