// SPDX-License-Identifier: BSD-3-Clause
// The head of a language model that learns from another one beside the data (Hinton, Vinyals & Dean 2015). With weight
// l and temperature T of the soft targets, and z' the teacher's logits:
//
//   z = x W^T;  p = softmax(z' / T);  q = softmax(z / T)
//   loss = sum_i (1 - l) (log sum_v exp z_iv - z_i,target(i)) + l T^2 sum_v p_iv (log p_iv - log q_iv)
//   dz = scale ((1 - l) (softmax(z) - onehot(targets)) + l T (q - p));  dx = dz W;  dW += dz^T x
//
// T^2 keeps the size of the teacher's gradient, which falls with 1/T^2, so that l says the same at every T. Rows
// without a target are left out, as in head_loss.hpp. Logits exist for a block of rows at a time, with all words;
// shapes depend on the numbers of rows and words alone. A row's second and third softmax cost little beside 6 n vocab
// width flops.
#pragma once

#include "runtime/model/head_loss.hpp"
#include "runtime/model/soft_targets.hpp"

namespace conclave::model {

/// The loss of one group's rows, soft.logits [n, vocab] among them, and the gradients of scale * loss; those that are
/// not wanted have no rows. Called again for other gradients, it computes the same logits again.
template <class T>
LossSums distilled_head(const HeadRows<T>& rows, const SoftTargets<T>& soft, double scale,
                        const HeadGradients<T>& gradients);

}  // namespace conclave::model
