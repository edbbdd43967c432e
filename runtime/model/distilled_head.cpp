// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/distilled_head.hpp"

#include "runtime/core/gemm.hpp"
#include "runtime/core/scratch.hpp"
#include "runtime/core/vector_kernels.hpp"

#include <algorithm>

namespace conclave::model {
namespace {

constexpr Index block_rows = 64;

template <class T>
void check(const HeadRows<T>& rows, const SoftTargets<T>& soft) {
  invariant(static_cast<Index>(rows.targets.size()) == rows.x.rows && rows.x.cols == rows.weight.cols &&
                soft.logits.rows == rows.x.rows && soft.logits.cols == rows.weight.rows,
            "the distilled loss of [{},{}] by a head [{},{}] with {} targets and a teacher's [{},{}]", rows.x.rows,
            rows.x.cols, rows.weight.rows, rows.weight.cols, rows.targets.size(), soft.logits.rows, soft.logits.cols);
  invariant(0.0 <= soft.weight && soft.weight <= 1.0 && soft.temperature > 0.0, "weight {}, temperature {}",
            soft.weight, soft.temperature);
}

/// One row's logits divided by the temperature, and their softmax: [1, vocab] each.
template <class T>
struct Cooled {
  Cooled(std::span<const T> z, double temperature, Scratch& scratch)
      : logits(scratch.matrix<T>(1, std::ssize(z))), softmax(scratch.matrix<T>(1, std::ssize(z))) {
    scaled_copy<T>(static_cast<T>(1.0 / temperature), z, logits.row(0));
    softmax_rows<T>(logits, softmax, {&log_sum, 1});
  }
  MatrixView<T> logits, softmax;
  T log_sum{};
};

// sum_v p_v (log p_v - log q_v), in float64: it is what remains of nearly equal numbers where q is nearly p.
template <class T>
double divergence(const Cooled<T>& teacher, const Cooled<T>& student) {
  double sum = static_cast<double>(student.log_sum) - static_cast<double>(teacher.log_sum);
  for (Index v = 0; v < teacher.logits.cols; ++v) {
    sum += static_cast<double>(teacher.softmax(0, v)) *
           (static_cast<double>(teacher.logits(0, v)) - static_cast<double>(student.logits(0, v)));
  }
  return sum;
}

// Adds the row's loss; in place of its logits z their gradient.
template <class T>
void take_row(std::span<T> z, std::int32_t target, std::span<const T> teacher_logits, const SoftTargets<T>& soft,
              double scale, LossSums& sums) {
  Scratch scratch;
  const Cooled<T> teacher(teacher_logits, soft.temperature, scratch);
  const Cooled<T> student(z, soft.temperature, scratch);
  const LossSums hard = cross_entropy_and_gradient<T>(as_matrix(z, 1, std::ssize(z)), {&target, 1}, 1.0);
  sums.correct += hard.correct;
  sums.nats += (1.0 - soft.weight) * hard.nats +
               soft.weight * soft.temperature * soft.temperature * divergence(teacher, student);
  const auto of_hard = static_cast<T>(scale * (1.0 - soft.weight));
  const auto of_soft = static_cast<T>(scale * soft.weight * soft.temperature);
  for (Index v = 0; v < std::ssize(z); ++v) {
    T& dz = z[static_cast<std::size_t>(v)];
    dz = of_hard * dz + of_soft * (student.softmax(0, v) - teacher.softmax(0, v));
  }
}

// dx = dz W, dW += dz^T x.
template <class T>
void add_gradients(const HeadRows<T>& rows, Range block, ConstMatrixView<T> dz, const HeadGradients<T>& gradients) {
  if (gradients.x.rows > 0) gemm_nn<T>(dz, rows.weight, T{0}, gradients.x.row_block(block));
  if (gradients.weight.rows > 0) gemm_tn<T>(dz, rows.x.row_block(block), T{1}, gradients.weight);
}

}  // namespace

template <class T>
LossSums distilled_head(const HeadRows<T>& rows, const SoftTargets<T>& soft, double scale,
                        const HeadGradients<T>& gradients) {
  check(rows, soft);
  LossSums sums;
  const Index vocab = rows.weight.rows;
  for (Index first = 0; first < rows.x.rows; first += block_rows) {
    const Range block{first, std::min(rows.x.rows, first + block_rows)};
    Scratch scratch;
    const MatrixView<T> z = scratch.matrix<T>(block.size(), vocab);
    gemm_nt<T>(rows.x.row_block(block), rows.weight, T{0}, z);
    for (Index i = block.begin; i < block.end; ++i) {
      const std::span<T> row = z.row(i - block.begin);
      const std::int32_t target = rows.targets[static_cast<std::size_t>(i)];
      if (target == no_target) {
        std::ranges::fill(row, T{0});
        continue;
      }
      take_row(row, target, soft.logits.row(i), soft, scale, sums);
    }
    add_gradients<T>(rows, block, z, gradients);
  }
  return sums;
}

#define CONCLAVE_INSTANTIATE(T) \
  template LossSums distilled_head(const HeadRows<T>&, const SoftTargets<T>&, double, const HeadGradients<T>&)
CONCLAVE_INSTANTIATE(float);
CONCLAVE_INSTANTIATE(double);
#undef CONCLAVE_INSTANTIATE

}  // namespace conclave::model
