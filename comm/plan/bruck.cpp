// SPDX-License-Identifier: BSD-3-Clause
#include "comm/plan/bruck.hpp"

#include "runtime/core/error.hpp"

namespace conclave::plan {

BruckPlan::BruckPlan(Index num_ranks) : num_ranks_(num_ranks) {
  invariant(num_ranks > 0, "an exchange between {} ranks", num_ranks);
  for (Index bit = 1; bit < num_ranks; bit *= 2) {
    std::vector<Index>& positions = positions_.emplace_back();
    for (Index position = 1; position < num_ranks; ++position) {
      if ((position & bit) != 0) positions.push_back(position);
    }
  }
}

BruckBlock BruckPlan::block(RankId rank, Index round, Index position) const {
  const Index come = position & ((Index{1} << round) - 1);
  const RankId source = moved(rank, -come);
  return {source, moved(source, position)};
}

Index BruckPlan::message_bytes(Index round, Index row_bytes) const {
  const Index bytes = std::ssize(positions(round)) * static_cast<Index>(sizeof(Index)) + row_bytes;
  return (bytes + bruck_unit_bytes - 1) / bruck_unit_bytes * bruck_unit_bytes;
}

std::vector<Step> bruck_schedule(const Topology& topology, const Traffic& traffic) {
  const RankId end{topology.num_ranks()};
  const BruckPlan plan(topology.num_ranks());
  std::vector<Step> steps;
  for (RankId rank; rank < end; ++rank) {
    const Index bytes = checked_bytes(traffic, rank, rank);
    if (bytes > 0) steps.push_back({0, rank, rank, bytes, Level::self});
  }
  for (Index round = 0; round < plan.num_rounds(); ++round) {
    for (RankId rank; rank < end; ++rank) {
      Index bytes = 0;
      for (const Index position : plan.positions(round)) {
        const BruckBlock block = plan.block(rank, round, position);
        bytes += checked_bytes(traffic, block.source, block.destination);
      }
      const RankId to = plan.to(rank, round);
      steps.push_back({round, rank, to, plan.message_bytes(round, bytes), level_between(topology, rank, to)});
    }
  }
  return steps;
}

}  // namespace conclave::plan
