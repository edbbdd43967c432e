// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "runtime/core/options.hpp"

namespace conclave::train {

/// When a run is taken to hang, and when a rank to hold up the others.
struct WatchOptions {
  double hang_timeout = 600.0;  // [s], 0: never
  double straggler_alarm = 1.5;
  Index straggler_window = 20;
};

void describe(WatchOptions& options, OptionTable& table);
/// InputError for values out of range.
void validate(const WatchOptions& options);

}  // namespace conclave::train
