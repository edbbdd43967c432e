// SPDX-License-Identifier: BSD-3-Clause
// All-gather of slices, one of each rank, from node to node: a slice crosses the network once for each node, between
// the ranks of its owner's place, which share it out on their nodes meanwhile. So all ranks of a node send and receive
// at once, and no link carries a slice twice. Large slices go round a ring of nodes, as far as the next one at a time;
// small ones, of which the number of rounds is what costs, twice as far in each round (Bruck et al., IEEE Trans.
// Parallel Distrib. Syst. 8, 1997; both for ranks: Thakur, Rabenseifner and Gropp, Int. J. High Perform. Comput. Appl.
// 19, 2005).
#pragma once

#include "comm/plan/hierarchical.hpp"

namespace conclave::plan {

/// Up to so many bytes of the largest slice the way of small ones is taken.
inline constexpr Index most_bytes_of_small_slice = Index{1} << 16;

/// Every node sends to the one `distance` further on (node_to) the slices of the nodes `ages` back (node_from; 0: its
/// own), and receives as many from the one as far back.
struct GatherRound {
  Index distance = 0;
  Range ages;
  /// How far back those are from that have arrived.
  [[nodiscard]] Range arrived() const { return {ages.begin + distance, ages.end + distance}; }
  friend bool operator==(const GatherRound&, const GatherRound&) = default;
};

/// The rounds, one after another, after which every node has all slices.
[[nodiscard]] std::vector<GatherRound> gather_rounds(Index num_nodes, Index largest_slice_bytes);

/// The rank by which a node has the slice of the rank at `place` of its owner's node: that of the same place, or, on a
/// node with fewer ranks, that modulo their number; so the owner on its own.
[[nodiscard]] RankId slice_carrier(const Topology& topology, NodeId node, Index place);

/// Calls take(owner, place) for every slice that `node` has of the nodes so far back: the order in which both sides of
/// a round count its messages.
template <class Take>
void for_each_slice(const Topology& topology, NodeId node, Range ages, Take take) {
  for (Index age = ages.begin; age < ages.end; ++age) {
    const std::vector<RankId>& owners = topology.ranks(node_from(topology, node, age));
    for (Index place = 0; place < std::ssize(owners); ++place) take(owners[static_cast<std::size_t>(place)], place);
  }
}

/// slice_bytes(owner): of each rank's slice, not negative; empty ones are left out. Phase r has the messages of round r
/// and what ranks of a node share out that arrived in the round before, first their own.
[[nodiscard]] std::vector<Step> gather_schedule(const Topology& topology,
                                                const std::function<Index(RankId owner)>& slice_bytes);

}  // namespace conclave::plan
