// SPDX-License-Identifier: BSD-3-Clause
// Experts as a user names them: LAYER:EXPERT, MoE layers counted from 0, or EXPERT for the same one in every layer.
#pragma once

#include "runtime/train/expert_edit.hpp"

namespace conclave::apps {

/// The experts of each layer, `in_word` of them a word with '+' between. InputError, naming the option, for words that
/// are none and for layers that there are not.
[[nodiscard]] train::ExpertsOfLayers experts_named(std::string_view option, const std::vector<std::string>& words,
                                                   Index layers, Index in_word);

}  // namespace conclave::apps
