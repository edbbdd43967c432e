// SPDX-License-Identifier: BSD-3-Clause
#include "apps/bare_experts.hpp"

#include "experts/expert_shard.hpp"
#include "runtime/core/gemm.hpp"

namespace conclave::apps {
namespace {

void resize_zero(Matrix<float>& m, Index rows, Index cols) {
  const bool fresh = m.rows() * m.cols() < rows * cols;
  m.resize(rows, cols);
  if (fresh) m.fill(0.0F);
}

void for_blocks(Index rows, const std::function<void(Range)>& product) {
  constexpr Index size = experts::ExpertShard<float>::block_rows;
  for (Index begin = 0; begin < rows; begin += size) product({begin, std::min(begin + size, rows)});
}

}  // namespace

double BareExperts::run(Index rows, const experts::ExpertShape& shape) {
  const bool is_linear = shape.kind == experts::ExpertKind::linear;
  const Index inner = is_linear ? shape.width : shape.hidden;
  for (Matrix<float>* m : {&in_, &d_in_}) resize_zero(*m, rows, shape.width);
  for (Matrix<float>* m : {&hidden_, &d_hidden_}) resize_zero(*m, rows, inner);
  for (Matrix<float>* m : {&w_, &d_w_}) resize_zero(*m, inner, shape.width);
  const auto part = [](Matrix<float>& m, Range rows_of) { return m.view().row_block(rows_of); };
  const int into = shape.kind == experts::ExpertKind::swiglu ? 2 : 1;  // matrices that take x
  for (int i = 0; i < into; ++i) {
    for_blocks(rows, [&](Range b) { gemm_nt<float>(part(in_, b), w_.view(), 0.0F, part(hidden_, b)); });
    for_blocks(rows, [&](Range b) { gemm_nn<float>(part(d_hidden_, b), w_.view(), 0.0F, part(d_in_, b)); });
    gemm_tn<float>(d_hidden_.view(), in_.view(), 0.0F, d_w_.view());
  }
  const auto matrix_elements = static_cast<double>(rows * inner * shape.width);
  if (is_linear) return 6.0 * matrix_elements;
  for_blocks(rows, [&](Range b) { gemm_nn<float>(part(hidden_, b), w_.view(), 0.0F, part(in_, b)); });
  for_blocks(rows, [&](Range b) { gemm_nt<float>(part(d_in_, b), w_.view(), 0.0F, part(d_hidden_, b)); });
  gemm_tn<float>(hidden_.view(), d_in_.view(), 0.0F, d_w_.view());
  return 6.0 * static_cast<double>(into + 1) * matrix_elements;
}

}  // namespace conclave::apps
