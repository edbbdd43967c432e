// SPDX-License-Identifier: BSD-3-Clause
// An exchange as a list of messages: strategy + topology + traffic -> steps, to be priced by a simulator. The rows that
// the runtime moves (ExchangeShape) are the traffic.
#pragma once

#include "comm/plan/topology.hpp"

#include <functional>
#include <vector>

namespace conclave::plan {

/// How far a message travels.
enum class Level { self, node, network };

/// One message. Steps of a phase may run at the same time; a phase starts when the one before has ended.
struct Step {
  Index phase = 0;
  RankId from;
  RankId to;
  Index bytes = 0;
  Level level = Level::self;
  friend bool operator==(const Step&, const Step&) = default;
};

/// bytes(from, to): what each rank has for each other, as one function so that a million ranks need no table.
using Traffic = std::function<Index(RankId from, RankId to)>;

/// The flat exchange: every rank sends to every peer directly, all in one phase; empty messages are left out.
[[nodiscard]] std::vector<Step> flat_schedule(const Topology& topology, const Traffic& traffic);

}  // namespace conclave::plan
