// SPDX-License-Identifier: BSD-3-Clause
// A stretch of a rank's time, as traces show it: the same names for what a run measured and what was predicted.
#pragma once

#include "runtime/core/trace.hpp"

#include <string>
#include <string_view>

namespace conclave {

/// step, pass and layer hold other spans. compute and wait are what a rank's thread does, one after another; transfer
/// is what is on its way between ranks meanwhile.
enum class SpanKind { step, pass, layer, compute, wait, transfer };

inline constexpr std::array<EnumName<SpanKind>, 6> enum_names(SpanKind) {
  return {{{SpanKind::step, "step"},
           {SpanKind::pass, "pass"},
           {SpanKind::layer, "layer"},
           {SpanKind::compute, "compute"},
           {SpanKind::wait, "wait"},
           {SpanKind::transfer, "transfer"}}};
}

/// Steps, passes, layers and waves are numbered as a run numbers them; -1: of none, or of all.
struct Span {
  SpanKind kind = SpanKind::compute;
  double begin_s = 0.0;
  double end_s = 0.0;
  std::optional<Phase> phase{};  // of compute and wait; of transfers of rows and sums the phase that they belong to
  std::string_view of{};         // what is waited for, or what is on its way; outlives the span
  Index step = -1;
  Index pass = -1;
  Index layer = -1;
  Index wave = -1;
  std::optional<Direction> direction{};
  double rows = 0.0;   // 0: not known, or none
  double bytes = 0.0;  // on their way
  double flops = 0.0;
  Index calls = 0;               // that a thread took of those that threads share out
  std::vector<Index> experts{};  // that compute, by their global numbers, where they are known

  [[nodiscard]] double seconds() const { return end_s - begin_s; }
  /// "step 12", "pass 0", "layer 3 forward", "experts", "wait"; of a transfer without a phase what it is of.
  [[nodiscard]] std::string name() const;
};

}  // namespace conclave
