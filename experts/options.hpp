// SPDX-License-Identifier: BSD-3-Clause
// What the experts of a layer can be asked to be.
#pragma once

#include "experts/feed_forward.hpp"

#include <vector>

namespace conclave::experts {

/// What the experts of a layer have in common:
///   none        nothing
///   base+delta  one base matrix for each weight; an expert adds a delta of low rank to each (Hu et al. 2021, LoRA),
///   and
///               has biases of its own
enum class ExpertSharing { none, base_and_delta };

inline constexpr std::array<EnumName<ExpertSharing>, 2> enum_names(ExpertSharing) {
  return {{{ExpertSharing::none, "none"}, {ExpertSharing::base_and_delta, "base+delta"}}};
}

/// Kinds and hidden widths are lists that are repeated over a layer's experts, so one layer may mix them.
struct ExpertOptions {
  std::vector<std::string> expert_kind = {"gelu"};
  std::vector<Index> expert_hidden = {256};
  bool expert_bias = false;
  Index shared_experts = 0;
  Index shared_hidden = 256;
  ExpertSharing expert_sharing = ExpertSharing::none;
  Index expert_rank = 8;
};

void describe(ExpertOptions& options, OptionTable& table);

/// InputError for kinds that do not exist, widths below 1, negative counts, and experts that cannot share a base.
/// `width` is the layer's.
void validate(const ExpertOptions& options, Index width);

/// The shape of each expert of a layer, and of each shared one.
[[nodiscard]] std::vector<ExpertShape> expert_shapes(const ExpertOptions& options, Index width, Index num_experts);
[[nodiscard]] std::vector<ExpertShape> shared_shapes(const ExpertOptions& options, Index width);

}  // namespace conclave::experts
