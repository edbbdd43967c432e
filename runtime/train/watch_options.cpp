// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/watch_options.hpp"

namespace conclave::train {

void describe(WatchOptions& o, OptionTable& table) {
  table.add("hang_timeout", o.hang_timeout,
            "seconds without any progress of a rank after which the run says who waits for whom and ends; longer than "
            "the longest save and the reading of the data; 0: never");
  table.add("straggler_alarm", o.straggler_alarm,
            "warn when a rank computes this many times as long as the median rank; 0: never");
  table.add("straggler_window", o.straggler_window, "steps that the times are added up over for that");
}

void validate(const WatchOptions& o) {
  if (!(o.hang_timeout == 0.0 || (o.hang_timeout >= 1.0 && o.hang_timeout <= 1e7))) {
    throw InputError(fmt::format("hang_timeout = {}", o.hang_timeout), "give 0 (never), or 1 to 1e7 seconds");
  }
  if (!(o.straggler_alarm == 0.0 || (o.straggler_alarm > 1.0 && o.straggler_alarm <= 1e6))) {
    throw InputError(fmt::format("straggler_alarm = {}", o.straggler_alarm), "give 0 (never), or a number above 1");
  }
  if (o.straggler_window < 1) {
    throw InputError(fmt::format("straggler_window = {}", o.straggler_window), "give at least 1 step");
  }
}

}  // namespace conclave::train
