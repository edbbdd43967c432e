// SPDX-License-Identifier: BSD-3-Clause
// The hierarchical exchange: rows for ranks of the same node are written into their memory; those for another node are
// gathered into one bundle, which crosses the network as one message and is shared out where it arrives. A row that
// goes to several ranks of a node, or to one several times, crosses once.
#pragma once

#include "comm/plan/schedule.hpp"

namespace conclave::plan {

/// Bundles cross the network in rounds 1 ... num_nodes - 1: in round k a node sends to the node k further on and
/// receives from the one k back, so that no link is asked for two bundles at once. Rounds of large bundles follow one
/// another, small ones need not wait.
inline constexpr Index most_bytes_of_small_bundle = Index{1} << 16;
[[nodiscard]] NodeId node_to(const Topology& topology, NodeId node, Index round);
[[nodiscard]] NodeId node_from(const Topology& topology, NodeId node, Index round);
/// The rank that sends and receives its node's bundles of a round: its place among the node's ranks, which take turns.
[[nodiscard]] Index carrier(const Topology& topology, NodeId node, Index round);

/// How a bundle is laid out, in bytes from its beginning:
///   distinct rows of each sender   [senders] Index
///   rows to each receiver          [senders, receivers] Index
///   if indexed, of every row its place among the sender's distinct rows   [rows] 32 bits, by sender, then receiver
///   the distinct rows, by sender   [distinct, row_bytes], from a multiple of unit_bytes on
/// Senders and receivers are the ranks of the two nodes, ascending. Where rows are not indexed all are distinct.
struct BundleLayout {
  Index senders = 0;
  Index receivers = 0;
  bool indexed = false;
  Index row_bytes = 0;

  static constexpr Index unit_bytes = 64;  // bundles begin at multiples of it, and are filled up to them
  [[nodiscard]] static constexpr Index whole_units(Index bytes) {
    return (bytes + unit_bytes - 1) / unit_bytes * unit_bytes;
  }
  [[nodiscard]] Index counts_begin() const { return senders * static_cast<Index>(sizeof(Index)); }
  [[nodiscard]] Index indices_begin() const { return senders * (1 + receivers) * static_cast<Index>(sizeof(Index)); }
  [[nodiscard]] Index rows_begin(Index rows) const {
    return whole_units(indices_begin() + (indexed ? rows * static_cast<Index>(sizeof(std::uint32_t)) : 0));
  }
  [[nodiscard]] Index bytes(Index rows, Index distinct) const {
    return whole_units(rows_begin(rows) + distinct * row_bytes);
  }
};

/// What one rank has for another node, and what it gets from there.
struct NodeRows {
  Index rows_out = 0;
  Index distinct_out = 0;
  Index rows_in = 0;
};

/// Where the bundles of one node stand in the memory that its ranks share.
class NodeBundles {
 public:
  struct Bundle {
    Index carrier = 0;  // whose memory it is in: place among the node's ranks
    Index begin = 0;    // in bytes
    Index bytes = 0;    // its own, or of one that comes in, the most it can have; 0: there is none
    Index rows = 0;     // from all senders; for one that comes in, to all receivers
    BundleLayout layout;
  };
  /// rows_of(mate, node): what a rank of the node `node` has for and gets from each other one. A rank's bundles begin
  /// at own_bytes(mate) of its memory.
  void lay_out(const Topology& topology, NodeId node, bool indexed, Index row_bytes,
               const std::function<NodeRows(Index mate, NodeId peer)>& rows_of,
               const std::function<Index(Index mate)>& own_bytes);

  [[nodiscard]] const Bundle& outgoing(NodeId to) const { return outgoing_[static_cast<std::size_t>(to.value())]; }
  [[nodiscard]] const Bundle& incoming(NodeId from) const { return incoming_[static_cast<std::size_t>(from.value())]; }
  /// The bytes that each rank of the node has to have room for.
  [[nodiscard]] const std::vector<Index>& bytes_needed() const { return bytes_needed_; }

 private:
  std::vector<Bundle> outgoing_;     // [num_nodes]
  std::vector<Bundle> incoming_;     // [num_nodes]
  std::vector<Index> bytes_needed_;  // [ranks of the node]
};

/// Rows, not bytes: rows(from, to); and if rows are copies of one another, distinct(from, node), the distinct ones
/// among those that a rank has for another node. Phase 0: within nodes, rows to where they stay or into bundles; then
/// the rounds of bundles; in phase num_nodes from where a bundle arrived to its receivers. The bytes within nodes are
/// those of rows alone.
struct RowTraffic {
  Traffic rows;
  std::function<Index(RankId from, NodeId to)> distinct{};
  Index row_bytes = 0;
};
[[nodiscard]] std::vector<Step> hierarchical_schedule(const Topology& topology, const RowTraffic& traffic);

}  // namespace conclave::plan
