// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/nan_options.hpp"

namespace conclave::train {

void describe(NotFiniteOptions& o, OptionTable& table) {
  table.add("on_nan", o.on_nan,
            "when a step's loss, gradients or new weights are not finite: stop, skip (the step changes nothing) or "
            "rollback (to the last checkpoint, and on without that step's data)");
  table.add("on_nan_limit", o.on_nan_limit,
            "on_nan = skip, rollback: stop with more such steps than this in a row, or since the checkpoint");
  table.add("skip_steps", o.skip_steps, "steps whose data is passed over, with commas; the first step is 1");
}

void validate(const NotFiniteOptions& o) {
  if (o.on_nan_limit < 1) throw InputError(fmt::format("on_nan_limit = {}", o.on_nan_limit), "give at least 1 step");
  for (const Index step : o.skip_steps) {
    if (step < 1) throw InputError(fmt::format("skip_steps has {}", step), "the first step is 1");
  }
}

}  // namespace conclave::train
