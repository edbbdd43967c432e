// SPDX-License-Identifier: BSD-3-Clause
#include "comm/plan/hierarchical.hpp"

namespace conclave::plan {
namespace {

Index num_ranks(const Topology& topology, NodeId node) { return std::ssize(topology.ranks(node)); }

RankId carrier_rank(const Topology& topology, NodeId node, Index round) {
  return topology.ranks(node)[static_cast<std::size_t>(carrier(topology, node, round))];
}

// The steps of what goes from one node to another in a round.
void add_steps_of_round(const Topology& topology, const RowTraffic& traffic, NodeId a, Index round,
                        std::vector<Step>& steps) {
  const NodeId b = node_to(topology, a, round);
  const RankId sender = carrier_rank(topology, a, round);
  const RankId receiver = carrier_rank(topology, b, round);
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
  add(round, sender, receiver, layout.bytes(all_rows, all_distinct));
  for (const RankId to : topology.ranks(b)) {
    Index rows = 0;
    for (const RankId from : topology.ranks(a)) rows += traffic.rows(from, to);
    add(topology.num_nodes(), receiver, to, rows * traffic.row_bytes);
  }
}

}  // namespace

NodeId node_to(const Topology& topology, NodeId node, Index round) {
  return NodeId{(node.value() + round) % topology.num_nodes()};
}

NodeId node_from(const Topology& topology, NodeId node, Index round) {
  return NodeId{(node.value() + topology.num_nodes() - round) % topology.num_nodes()};
}

Index carrier(const Topology& topology, NodeId node, Index round) { return (round - 1) % num_ranks(topology, node); }

void NodeBundles::lay_out(const Topology& topology, NodeId node, bool indexed, Index row_bytes,
                          const std::function<NodeRows(Index mate, NodeId peer)>& rows_of,
                          const std::function<Index(Index mate)>& own_bytes) {
  const Index mates = num_ranks(topology, node);
  outgoing_.assign(static_cast<std::size_t>(topology.num_nodes()), {});
  incoming_.assign(static_cast<std::size_t>(topology.num_nodes()), {});
  bytes_needed_.clear();
  for (Index mate = 0; mate < mates; ++mate) bytes_needed_.push_back(BundleLayout::whole_units(own_bytes(mate)));
  const auto put = [&](Bundle& bundle, Index place, const BundleLayout& layout, Index rows, Index distinct) {
    if (rows == 0) return;
    Index& end = bytes_needed_[static_cast<std::size_t>(place)];
    bundle = {place, end, layout.bytes(rows, distinct), rows, layout};
    end += bundle.bytes;
  };
  for (Index round = 1; round < topology.num_nodes(); ++round) {
    const NodeId to = node_to(topology, node, round);
    const NodeId from = node_from(topology, node, round);
    NodeRows sum;
    for (Index mate = 0; mate < mates; ++mate) {
      const NodeRows out = rows_of(mate, to);
      sum.rows_out += out.rows_out;
      sum.distinct_out += out.distinct_out;
      sum.rows_in += rows_of(mate, from).rows_in;
    }
    const Index place = carrier(topology, node, round);
    put(outgoing_[static_cast<std::size_t>(to.value())], place, {mates, num_ranks(topology, to), indexed, row_bytes},
        sum.rows_out, sum.distinct_out);
    put(incoming_[static_cast<std::size_t>(from.value())], place,
        {num_ranks(topology, from), mates, indexed, row_bytes}, sum.rows_in, sum.rows_in);
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
    for (Index round = 1; round < topology.num_nodes(); ++round) {
      add_steps_of_round(topology, traffic, a, round, steps);
    }
  }
  return steps;
}

}  // namespace conclave::plan
