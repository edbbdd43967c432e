// SPDX-License-Identifier: BSD-3-Clause
// The head of a language model and its loss in one: logits exist for one block of rows and words at a time, never for
// all of a step's tokens and the whole vocabulary.
//
//   z = x W^T;  loss = sum_i (log sum_v exp z_iv - z_i,target(i))
//   dz = scale (softmax(z) - onehot(targets));  dx = dz W;  dW += dz^T x
//
// Rows without a target (no_target) are left out of the sum, and their dz is 0: products have their shapes all the
// same.
//
// A vocabulary of one block has its logits computed once (6 n vocab width flops); a larger one has them twice (8): to
// find each row's log-sum online (Milakov & Gimelshein 2018), and again to turn them into gradients.
//
// Bytes moved by n rows of one group, beside a block of logits that stays in the second cache, with V words a block:
//   to find the log-sums    sizeof(T) width (vocab + n vocab / V)          W once, x once a block of words
//   gradients               sizeof(T) width (3 vocab + 3 n vocab / V)      and dW, and dx, read and written as often
// Shapes depend on n and the vocabulary alone.
#pragma once

#include "runtime/model/loss.hpp"

namespace conclave::model {

/// One group's rows of the head's input, the head, and what should be predicted.
template <class T>
struct HeadRows {
  ConstMatrixView<T> x;                   // [n, width]
  ConstMatrixView<T> weight;              // [vocab, width]
  std::span<const std::int32_t> targets;  // [n], in [0, vocab) or no_target: anything else is a broken invariant
};

/// Where the gradients of scale * nats go; what is not wanted has no rows.
template <class T>
struct HeadGradients {
  MatrixView<T> x{};       // [n, width], overwritten
  MatrixView<T> weight{};  // [vocab, width], added to
};

/// The loss, and the log of each row's sum of exp(logit).
template <class T>
[[nodiscard]] LossSums head_loss(const HeadRows<T>& rows, std::span<T> log_sums);

/// The same with the gradients.
template <class T>
[[nodiscard]] LossSums head_loss_and_gradients(const HeadRows<T>& rows, double scale, std::span<T> log_sums,
                                               const HeadGradients<T>& gradients);

/// The gradients alone, later: the logits are computed again.
template <class T>
void head_gradients(const HeadRows<T>& rows, double scale, std::span<const T> log_sums,
                    const HeadGradients<T>& gradients);

}  // namespace conclave::model
