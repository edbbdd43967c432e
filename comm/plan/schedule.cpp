// SPDX-License-Identifier: BSD-3-Clause
#include "comm/plan/schedule.hpp"

#include "runtime/core/error.hpp"

namespace conclave::plan {

Level level_between(const Topology& topology, RankId from, RankId to) {
  if (from == to) return Level::self;
  return topology.node(from) == topology.node(to) ? Level::node : Level::network;
}

Index checked_bytes(const Traffic& traffic, RankId from, RankId to) {
  const Index bytes = traffic(from, to);
  invariant(bytes >= 0, "{} bytes from rank {} to rank {}", bytes, from.value(), to.value());
  return bytes;
}

std::vector<Step> flat_schedule(const Topology& topology, const Traffic& traffic) {
  const RankId end{topology.num_ranks()};
  std::vector<Step> steps;
  for (RankId from; from < end; ++from) {
    for (RankId to; to < end; ++to) {
      const Index bytes = checked_bytes(traffic, from, to);
      if (bytes > 0) steps.push_back({0, from, to, bytes, level_between(topology, from, to)});
    }
  }
  return steps;
}

}  // namespace conclave::plan
