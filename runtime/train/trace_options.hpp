// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "runtime/core/options.hpp"

namespace conclave::train {

/// Consecutive steps, counted from 1.
struct StepRange {
  Index first = 0;
  Index last = 0;  // included
};
/// "10..12" or "5"; nothing if the text is neither, or ends before it begins.
[[nodiscard]] std::optional<StepRange> parse_steps(std::string_view text);

/// Which steps of a run are written as a trace.
struct TraceOptions {
  std::string trace;        // the file; empty: none
  std::string trace_steps;  // as parse_steps reads them

  static constexpr Index most_steps = 100;  // every rank keeps them in memory, and no viewer shows more
  /// Of valid options; nothing where no trace is asked for.
  [[nodiscard]] std::optional<StepRange> steps() const;
};

void describe(TraceOptions& options, OptionTable& table);
/// InputError where one of the two is missing, for a text that names no steps, for too many, and for steps beyond the
/// `steps` of the run.
void validate(const TraceOptions& options, Index steps);

}  // namespace conclave::train
