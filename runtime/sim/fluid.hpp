// SPDX-License-Identifier: BSD-3-Clause
// The tier `fluid`: every message is a flow that starts after its latency and shares each resource on its way with the
// others, max-min fair, until its bytes are through. What this leaves out is packets: their headers, their queues.
#pragma once

#include "runtime/sim/network.hpp"

namespace conclave::sim {

/// More flows are refused: a flow takes about 40 bytes and 8 for each resource on its way.
inline constexpr Index most_fluid_flows = Index{1} << 24;

struct FluidTime {
  double time_s = 0.0;
  Index num_flows = 0;
  Index num_fillings = 0;  // how often rates were computed
};

/// All messages are posted at once. Flows that end within `window_s` of the first of them end together: a flow that is
/// through waits at most that long before others get its share. So the time is never too small, and too large by the
/// order of the window; 0 is exact. InputError for more than most_fluid_flows.
[[nodiscard]] FluidTime fluid_of(const Network& network, const Traffic& traffic, double window_s);

/// A window with which a run takes seconds however many flows there are, each with an end of its own: none for few
/// flows, then 1e-8 of the shortest possible time (bound_s) for each, up to a hundredth.
[[nodiscard]] double affordable_window_s(Index num_flows, double bound_s);

}  // namespace conclave::sim
