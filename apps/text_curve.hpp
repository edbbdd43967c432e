// SPDX-License-Identifier: BSD-3-Clause
// Curves of blocks, for terminals.
#pragma once

#include "runtime/core/ids.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace conclave::apps {

/// The means of at most `columns` runs of values, one after another.
[[nodiscard]] std::vector<double> means_of(const std::vector<double>& values, Index columns);

/// A value between 0 and 1 as a block of that height.
[[nodiscard]] std::string_view text_block(double height);

/// Finite values as a line of at most `columns` blocks, from the least (low) to the largest (high).
[[nodiscard]] std::string text_curve(const std::vector<double>& values, Index columns);

}  // namespace conclave::apps
