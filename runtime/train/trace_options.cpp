// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/trace_options.hpp"

#include "runtime/core/parse_number.hpp"

namespace conclave::train {

std::optional<StepRange> parse_steps(std::string_view text) {
  constexpr std::string_view to = "..";
  const std::size_t at = text.find(to);
  const auto first = parse_number<Index>(text.substr(0, at));
  const auto last = at == std::string_view::npos ? first : parse_number<Index>(text.substr(at + to.size()));
  if (!first || !last || *first < 1 || *last < *first) return std::nullopt;
  return StepRange{*first, *last};
}

std::optional<StepRange> TraceOptions::steps() const { return trace.empty() ? std::nullopt : parse_steps(trace_steps); }

void describe(TraceOptions& o, OptionTable& table) {
  table.add(
      "trace", o.trace,
      "a file to write steps of the run into, for Perfetto or chrome://tracing: what each rank did and waited for, "
      "by phase, layer and wave");
  table.add("trace_steps", o.trace_steps, "these steps, counted from 1: 10..12, or 5");
}

void validate(const TraceOptions& o, Index steps) {
  if (o.trace.empty() && o.trace_steps.empty()) return;
  if (o.trace.empty()) {
    throw InputError(fmt::format("trace_steps = {} without trace", o.trace_steps),
                     "it says which steps --trace FILE has: give both or none");
  }
  if (o.trace_steps.empty()) {
    throw InputError(fmt::format("trace = {} without trace_steps", o.trace),
                     "say which steps it has: --trace-steps 10..12");
  }
  const std::optional<StepRange> range = parse_steps(o.trace_steps);
  if (!range) {
    throw InputError(fmt::format("trace_steps = '{}'", o.trace_steps),
                     "give a step, counted from 1, or the first and the last of several: 5, or 10..12");
  }
  if (range->last > steps) {
    throw InputError(fmt::format("trace_steps = {} of a run of {} steps", o.trace_steps, steps),
                     fmt::format("name steps from 1 to {}", steps));
  }
  if (range->last - range->first >= TraceOptions::most_steps) {
    throw InputError(fmt::format("trace_steps = {}: {} steps", o.trace_steps, range->last - range->first + 1),
                     fmt::format("name at most {}: ranks keep them in memory", TraceOptions::most_steps));
  }
}

}  // namespace conclave::train
