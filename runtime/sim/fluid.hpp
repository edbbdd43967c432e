// SPDX-License-Identifier: BSD-3-Clause
// The tier `fluid`: every message is a flow that starts after its latency and shares each resource on its way with the
// others, max-min fair, until its bytes are through. What this leaves out is packets: their headers, their queues.
#pragma once

#include "runtime/sim/bound.hpp"

namespace conclave::sim {

/// More are refused: a flow takes about 40 bytes, and 8 for each hop, a resource on its way.
inline constexpr Index most_fluid_flows = Index{1} << 24;
inline constexpr Index most_fluid_hops = Index{1} << 29;
/// Flows of a traffic, and their hops, at most.
[[nodiscard]] Index most_hops(const Network& network, const Traffic& traffic);

/// Rates of flows that may be computed, in all, before accuracy gives way: a second or two.
inline constexpr double affordable_rates = 1e7;

struct FluidTime {
  Bound bound{};  // the time is that at least
  double time_s = 0.0;
  double window_s = 0.0;  // the largest within which ends of flows were taken for one
  Index num_flows = 0;
  Index num_fillings = 0;  // how often rates were computed
};

/// All messages are posted at once. Where there are many flows, each with an end of its own, those that end within a
/// window end together: a flow that is through waits at most that long before others get its share. So the time is
/// never too small, and too large by the order of the window. The window is what leaves `rates` enough for the rest of
/// the time, and nothing, which is exact, while few flows are left; infinitely many rates are exact. InputError for
/// more than most_fluid_flows.
[[nodiscard]] FluidTime fluid_of(const Network& network, const Traffic& traffic, double rates = affordable_rates);

}  // namespace conclave::sim
