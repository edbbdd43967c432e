// SPDX-License-Identifier: BSD-3-Clause
// What it costs to make whole on every rank what each rank has updated a slice of.
#pragma once

#include "runtime/sim/machine.hpp"
#include "runtime/sim/network.hpp"

#include <string>

namespace conclave::sim {

struct GatheringPrice {
  double time_s = 0.0;
  std::string bottleneck{};
};

/// Gathering so many values of float32, of which each rank has its slice (comm/plan/reduce_plan.hpp), in the rounds of
/// comm/plan/gather.hpp. With a machine messages within nodes take what was measured there, messages cost their
/// posting, and between nodes all takes its factor of what the machine measured over this price.
[[nodiscard]] GatheringPrice price_gathering(const Network& network, const Machine* machine, Index elements);

}  // namespace conclave::sim
