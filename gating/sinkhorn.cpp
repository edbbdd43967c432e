// SPDX-License-Identifier: BSD-3-Clause
#include "gating/sinkhorn.hpp"

#include "runtime/core/scratch.hpp"
#include "runtime/core/vector_kernels.hpp"

#include <algorithm>
#include <limits>

namespace conclave::gating {
namespace {

// Keeps an expert that no token can see (its c underflows) from dividing by zero.
constexpr double least_sum = std::numeric_limits<double>::min();

// exp(z - the row's largest): a row's factor goes into its d0 and leaves q as it is.
ConstMatrixView<double> shifted_exponentials(auto logits, Scratch& scratch) {
  const MatrixView<double> c = scratch.matrix<double>(logits.rows, logits.cols);
  for (Index t = 0; t < logits.rows; ++t) {
    const auto from = logits.row(t);
    const auto to = c.row(t);
    std::copy(from.begin(), from.end(), to.begin());
    exp_shifted<double>(*std::max_element(to.begin(), to.end()), to);
  }
  return c;
}

}  // namespace

template <class T>
void sinkhorn(ConstMatrixView<T> logits, Index iterations, MatrixView<T> q) {
  if (logits.rows == 0) return;
  Scratch scratch;
  const ConstMatrixView<double> c = shifted_exponentials(logits, scratch);
  const double token_share = 1.0 / static_cast<double>(logits.rows);
  const double expert_share = 1.0 / static_cast<double>(logits.cols);
  const auto num_experts = static_cast<std::size_t>(logits.cols);
  const std::span<double> d0 = scratch.values<double>(logits.rows, 1.0);
  const std::span<double> d1 = scratch.values<double>(logits.cols, 1.0);
  const std::span<double> column = scratch.values<double>(logits.cols);
  for (Index round = 0; round < iterations; ++round) {
    std::fill(column.begin(), column.end(), 0.0);
    for (Index t = 0; t < logits.rows; ++t) {
      double& scale = d0[static_cast<std::size_t>(t)];
      scale = token_share / std::max(dot<double>(c.row(t), d1), least_sum);
      axpy<double>(scale, c.row(t), column);
    }
    for (std::size_t e = 0; e < num_experts; ++e) d1[e] = expert_share / std::max(column[e], least_sum);
  }
  for (Index t = 0; t < logits.rows; ++t) {
    for (std::size_t e = 0; e < num_experts; ++e) {
      q.row(t)[e] = static_cast<T>(d0[static_cast<std::size_t>(t)] * c.row(t)[e] * d1[e]);
    }
  }
}

template void sinkhorn(ConstMatrixView<float>, Index, MatrixView<float>);
template void sinkhorn(ConstMatrixView<double>, Index, MatrixView<double>);

}  // namespace conclave::gating
