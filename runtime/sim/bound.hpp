// SPDX-License-Identifier: BSD-3-Clause
// The tier `bound`: what no exchange over these routes can be faster than.
#pragma once

#include "runtime/sim/network.hpp"

namespace conclave::sim {

/// The largest, over resources, of the bytes it carries over its bandwidth, plus the least latency of what it carries:
/// nothing arrives before that, and then no faster.
struct Bound {
  double time_s = 0.0;
  Index resource = -1;  // the one that says so; -1: nothing is sent
};

/// Costs as Network::loads.
[[nodiscard]] Bound bound_of(const Network& network, const Traffic& traffic);

}  // namespace conclave::sim
