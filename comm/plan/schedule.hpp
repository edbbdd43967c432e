// SPDX-License-Identifier: BSD-3-Clause
// An exchange as a list of messages: strategy + topology + traffic -> steps, to be executed by the runtime and priced
// by a simulator. The rows that the runtime moves (ExchangeShape) are the traffic. Each strategy has a file of its own,
// which also says what a single rank does in each phase.
#pragma once

#include "comm/plan/topology.hpp"

#include <compare>
#include <functional>
#include <vector>

namespace conclave::plan {

/// How far a message travels.
enum class Level { self, node, network };

[[nodiscard]] Level level_between(const Topology& topology, RankId from, RankId to);

/// One message, or one write into memory that ranks of a node share. Steps of a phase may run at the same time; a rank
/// starts a phase when its part of the one before has ended.
struct Step {
  Index phase = 0;
  RankId from;
  RankId to;
  Index bytes = 0;
  Level level = Level::self;
  friend auto operator<=>(const Step&, const Step&) = default;
};

/// bytes(from, to): what each rank has for each other, as one function so that a million ranks need no table.
using Traffic = std::function<Index(RankId from, RankId to)>;

/// The bytes from one rank to another; InvariantError if they are negative.
[[nodiscard]] Index checked_bytes(const Traffic& traffic, RankId from, RankId to);

/// The flat exchange: every rank sends to every peer directly, all in one phase; empty messages are left out.
[[nodiscard]] std::vector<Step> flat_schedule(const Topology& topology, const Traffic& traffic);

/// The shared exchange: the same steps, but those within a node are writes into the receiver's memory.
[[nodiscard]] inline std::vector<Step> shared_schedule(const Topology& topology, const Traffic& traffic) {
  return flat_schedule(topology, traffic);
}

}  // namespace conclave::plan
