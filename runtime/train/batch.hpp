// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "runtime/train/dataset.hpp"

namespace conclave::train {

/// Sequences side by side as a model takes them: inputs, and the tokens that follow them.
struct Batch {
  std::vector<std::int32_t> tokens;   // [sequences * context]
  std::vector<std::int32_t> targets;  // [sequences * context]
  std::vector<std::int32_t> domains;  // [sequences * context] each token's domain; empty where the data has none
};

/// Fills `batch` with `count` sequences of `split`, from number `first` on.
void read_batch(const Dataset& dataset, Split split, Index first, Index count, Batch& batch);

}  // namespace conclave::train
