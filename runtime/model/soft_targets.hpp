// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "runtime/core/matrix.hpp"

namespace conclave::model {

/// What a teacher says of each token's successor, and how much a student minds it (distilled_head.hpp).
template <class T>
struct SoftTargets {
  ConstMatrixView<T> logits{};  // [tokens, vocabulary] the teacher's, borrowed; no columns: there is no teacher
  double weight = 0.0;          // of the teacher in the loss, in [0, 1]
  double temperature = 1.0;     // that logits are divided by, above 0

  [[nodiscard]] bool is_there() const { return logits.cols > 0; }
  [[nodiscard]] SoftTargets of(Range rows) const { return {logits.row_block(rows), weight, temperature}; }
};

}  // namespace conclave::model
