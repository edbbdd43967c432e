// SPDX-License-Identifier: BSD-3-Clause
// The models whose training steps are timed to tell what phases cost: small, and unlike one another.
#pragma once

#include "runtime/train/options.hpp"

#include <string>
#include <vector>

namespace conclave::apps {

/// A model and its step, for one rank.
struct CalibrationShape {
  std::string name;  // "w256 h4 c128 8/4 x2 gelu 8x512 k2"
  train::TrainOptions options;
};

/// Widths, contexts, heads, numbers, kinds and sizes of experts, choices, groups and passes that vary each by itself,
/// so that calls, operations and bytes do in every phase; steps of milliseconds to a second. `quick`: the smallest
/// ones. No token is dropped, so that loads are rows. The first is the one that noise is told by.
[[nodiscard]] std::vector<CalibrationShape> calibration_shapes(bool quick);

}  // namespace conclave::apps
