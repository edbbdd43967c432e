// SPDX-License-Identifier: BSD-3-Clause
// Numbers of ranks as users write them.
#pragma once

#include "runtime/core/ids.hpp"

#include <string_view>
#include <vector>

namespace conclave::apps {

/// "8,12,16", "2:64:x2" (2, 4, ... 64) or "4:16:4" (4, 8, 12, 16), or such with commas between. The last number is
/// there if it is met. Rising, each once. InputError for anything else, for numbers below 1, and for more than 1,000 of
/// them.
[[nodiscard]] std::vector<Index> parse_rank_counts(std::string_view text);

}  // namespace conclave::apps
