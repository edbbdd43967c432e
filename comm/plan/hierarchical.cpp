// SPDX-License-Identifier: BSD-3-Clause
#include "comm/plan/hierarchical.hpp"

#include <algorithm>

namespace conclave::plan {
namespace {

Index num_ranks(const Topology& topology, NodeId node) { return std::ssize(topology.ranks(node)); }

Index place_of(const Topology& topology, NodeId node, RankId rank) {
  const std::vector<RankId>& ranks = topology.ranks(node);
  return std::ranges::lower_bound(ranks, rank) - ranks.begin();
}

// The steps of what goes from one node to another.
void add_steps_between(const Topology& topology, const RowTraffic& traffic, NodeId a, NodeId b,
                       std::vector<Step>& steps) {
  const RankId sender = carrier(topology, a, b);
  const RankId receiver = carrier(topology, b, a);
  Index all_rows = 0;
  Index all_distinct = 0;
  const auto add = [&](Index phase, RankId from, RankId to, Index bytes) {
    if (bytes > 0) steps.push_back({phase, from, to, bytes, level_between(topology, from, to)});
  };
  for (const RankId from : topology.ranks(a)) {
    Index rows = 0;
    for (const RankId to : topology.ranks(b)) rows += checked_bytes(traffic.rows, from, to);
    const Index distinct = traffic.distinct ? traffic.distinct(from, b) : rows;
    add(0, from, sender, distinct * traffic.row_bytes);
    all_rows += rows;
    all_distinct += distinct;
  }
  if (all_rows == 0) return;
  const BundleLayout layout{num_ranks(topology, a), num_ranks(topology, b), traffic.distinct != nullptr,
                            traffic.row_bytes};
  add(1, sender, receiver, layout.bytes(all_rows, all_distinct));
  for (const RankId to : topology.ranks(b)) {
    Index rows = 0;
    for (const RankId from : topology.ranks(a)) rows += traffic.rows(from, to);
    add(2, receiver, to, rows * traffic.row_bytes);
  }
}

}  // namespace

RankId carrier(const Topology& topology, NodeId of, NodeId peer) {
  return topology.ranks(of)[static_cast<std::size_t>(peer.value() % num_ranks(topology, of))];
}

void NodeBundles::lay_out(const Topology& topology, NodeId node, bool indexed, Index row_bytes,
                          const std::function<NodeRows(Index mate, NodeId peer)>& rows_of,
                          const std::function<Index(Index mate)>& own_bytes) {
  const Index mates = num_ranks(topology, node);
  outgoing_.assign(static_cast<std::size_t>(topology.num_nodes()), {});
  incoming_.assign(static_cast<std::size_t>(topology.num_nodes()), {});
  bytes_needed_.clear();
  for (Index mate = 0; mate < mates; ++mate) bytes_needed_.push_back(BundleLayout::whole_units(own_bytes(mate)));
  for (NodeId peer; peer < NodeId{topology.num_nodes()}; ++peer) {
    if (peer == node) continue;
    NodeRows sum;
    for (Index mate = 0; mate < mates; ++mate) {
      const NodeRows rows = rows_of(mate, peer);
      sum.rows_out += rows.rows_out;
      sum.distinct_out += rows.distinct_out;
      sum.rows_in += rows.rows_in;
    }
    const Index place = place_of(topology, node, carrier(topology, node, peer));
    const auto put = [&](Bundle& bundle, const BundleLayout& layout, Index rows, Index distinct) {
      if (rows == 0) return;
      Index& end = bytes_needed_[static_cast<std::size_t>(place)];
      bundle = {place, end, layout.bytes(rows, distinct), rows, layout};
      end += bundle.bytes;
    };
    const Index there = num_ranks(topology, peer);
    put(outgoing_[static_cast<std::size_t>(peer.value())], {mates, there, indexed, row_bytes}, sum.rows_out,
        sum.distinct_out);
    put(incoming_[static_cast<std::size_t>(peer.value())], {there, mates, indexed, row_bytes}, sum.rows_in,
        sum.rows_in);
  }
}

std::vector<Step> hierarchical_schedule(const Topology& topology, const RowTraffic& traffic) {
  std::vector<Step> steps;
  for (NodeId a; a < NodeId{topology.num_nodes()}; ++a) {
    for (const RankId from : topology.ranks(a)) {
      for (const RankId to : topology.ranks(a)) {
        const Index bytes = checked_bytes(traffic.rows, from, to) * traffic.row_bytes;
        if (bytes > 0) steps.push_back({0, from, to, bytes, level_between(topology, from, to)});
      }
    }
    for (NodeId b; b < NodeId{topology.num_nodes()}; ++b) {
      if (a != b) add_steps_between(topology, traffic, a, b, steps);
    }
  }
  return steps;
}

}  // namespace conclave::plan
