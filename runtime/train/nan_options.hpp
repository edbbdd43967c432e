// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "runtime/core/options.hpp"

namespace conclave::train {

/// What becomes of a step whose numbers are not finite:
///   stop      the run ends with an error
///   skip      the step changes nothing, and the run goes on with the next one
///   rollback  the run goes back to its last checkpoint, and on from there without that step's data
enum class OnNan { stop, skip, rollback };

inline constexpr std::array<EnumName<OnNan>, 3> enum_names(OnNan) {
  return {{{OnNan::stop, "stop"}, {OnNan::skip, "skip"}, {OnNan::rollback, "rollback"}}};
}

struct NotFiniteOptions {
  OnNan on_nan = OnNan::stop;
  Index on_nan_limit = 10;
  std::vector<Index> skip_steps;  // as records count them, from 1
};

void describe(NotFiniteOptions& options, OptionTable& table);
/// InputError for values out of range.
void validate(const NotFiniteOptions& options);

}  // namespace conclave::train
