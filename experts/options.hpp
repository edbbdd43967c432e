// SPDX-License-Identifier: BSD-3-Clause
// What the experts of a layer can be asked to be.
#pragma once

#include "experts/feed_forward.hpp"

#include <vector>

namespace conclave::experts {

/// Kinds and hidden widths are lists that are repeated over a layer's experts, so one layer may mix them.
struct ExpertOptions {
  std::vector<std::string> expert_kind = {"gelu"};
  std::vector<Index> expert_hidden = {256};
  bool expert_bias = false;
  Index shared_experts = 0;
  Index shared_hidden = 256;
};

void describe(ExpertOptions& options, OptionTable& table);

/// InputError for kinds that do not exist, widths below 1, and negative counts.
void validate(const ExpertOptions& options);

/// The shape of each expert of a layer, and of each shared one.
[[nodiscard]] std::vector<ExpertShape> expert_shapes(const ExpertOptions& options, Index width, Index num_experts);
[[nodiscard]] std::vector<ExpertShape> shared_shapes(const ExpertOptions& options, Index width);

}  // namespace conclave::experts
