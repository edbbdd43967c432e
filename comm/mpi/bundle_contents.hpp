// SPDX-License-Identifier: BSD-3-Clause
// What stands in the bundles of a hierarchical exchange (plan::BundleLayout): written by senders, read by receivers.
#pragma once

#include "comm/mpi/inbox.hpp"
#include "comm/plan/exchange_shape.hpp"
#include "comm/plan/hierarchical.hpp"

#include <cstddef>

namespace conclave::comm {

/// One rank's rows for other nodes: which of them are copies, and in which order the others stand in the bundle.
class BundleContents {
 public:
  /// sources: as in Inbox::open.
  void sort_out(const plan::ExchangeShape& shape, const plan::Topology& topology, RankId rank, const Sources& sources);

  [[nodiscard]] const plan::NodeRows& rows(NodeId node) const { return rows_[static_cast<std::size_t>(node.value())]; }

  /// Calls body(row, place, is_first) for every row that is sent to a node, by receiver, in the order in which they
  /// travel: row of the sending order, place among this rank's distinct rows for the node, and whether it is the first
  /// with that place.
  template <class Body>
  void for_each_row(NodeId node, const Body& body) const {
    const Range entries = entries_of_node_[static_cast<std::size_t>(node.value())];
    for (Index i = entries.begin; i < entries.end; ++i) {
      const Entry& entry = entries_[static_cast<std::size_t>(i)];
      body(entry.row, static_cast<Index>(entry.place), entry.is_first);
    }
  }

  /// Writes this sender's counts and indices into the bundle for a node; rows_before: those of the senders before.
  void write_header(NodeId node, Index sender, const plan::BundleLayout& layout, Index rows_before,
                    std::byte* bundle) const;

 private:
  struct Entry {
    Index row = 0;
    std::uint32_t place = 0;
    bool is_first = true;
  };
  struct Seen {
    Index node = -1;  // for which a source was seen last
    std::uint32_t place = 0;
  };
  void add_row(Index row, NodeId node, const Sources& sources);

  std::vector<plan::NodeRows> rows_;       // [num_nodes]
  std::vector<Range> entries_of_node_;     // [num_nodes]
  std::vector<Entry> entries_;             // by node, receiver, row
  std::vector<Index> rows_to_rank_;        // [num_ranks] by node, then rank
  std::vector<Index> first_rank_of_node_;  // [num_nodes] places in rows_to_rank_
  std::vector<Seen> seen_;                 // [sources]
};

/// A bundle that came from another node.
class ArrivedBundle {
 public:
  /// rows: those to all receivers together.
  ArrivedBundle(const plan::BundleLayout& layout, Index rows, const std::byte* bundle)
      : layout_(layout), rows_(rows), bundle_(bundle) {}
  /// Copies the rows from a sender to a receiver into the runs of the buffer that begins at `to`.
  void copy_rows(Index sender, Index receiver, std::span<const Range> runs, std::byte* to) const;

 private:
  [[nodiscard]] Index distinct(Index sender) const;
  [[nodiscard]] Index count(Index sender, Index receiver) const;

  plan::BundleLayout layout_;
  Index rows_;
  const std::byte* bundle_;
};

}  // namespace conclave::comm
