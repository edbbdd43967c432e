// SPDX-License-Identifier: BSD-3-Clause
// Cross entropy of logits against known tokens.
#pragma once

#include "runtime/core/matrix.hpp"

#include <cstdint>
#include <span>

namespace conclave::model {

/// In the place of a target: the row has none, and no loss.
inline constexpr std::int32_t no_target = -1;

/// The loss over some rows, as sums: a mean is taken where all groups' sums have met.
struct LossSums {
  double nats = 0.0;  // sum of -log softmax(logits[i,:])[targets[i]], rows in order
  Index correct = 0;  // rows whose largest logit (the first one, in a tie) is the target's
};

/// The loss of one group's logits [n, vocab] against targets [n]. A target outside [0, vocab) is a broken invariant.
template <class T>
[[nodiscard]] LossSums cross_entropy(ConstMatrixView<T> logits, std::span<const std::int32_t> targets);

/// The same, and in place of the logits the gradient of scale * nats: (softmax(logits) - onehot(targets)) * scale.
template <class T>
[[nodiscard]] LossSums cross_entropy_and_gradient(MatrixView<T> logits, std::span<const std::int32_t> targets,
                                                  double scale);

}  // namespace conclave::model
