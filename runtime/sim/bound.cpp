// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/bound.hpp"

namespace conclave::sim {

Bound bound_of(const Network& network, const Traffic& traffic) {
  const Loads loads = network.loads(traffic);
  Bound bound;
  for (Index r = 0; r < loads.size(); ++r) {
    if (!(loads.bytes(r) > 0.0)) continue;
    const double time_s = loads.bytes(r) / network.capacity_Bps(r) + loads.least_latency_s(r);
    if (bound.resource == -1 || time_s > bound.time_s) bound = {time_s, r};
  }
  return bound;
}

}  // namespace conclave::sim
