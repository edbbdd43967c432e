// SPDX-License-Identifier: BSD-3-Clause
// Memory and signals that the ranks of a node share for one inbox.
#pragma once

#include "comm/mpi/shared_window.hpp"

#include <functional>
#include <span>

namespace conclave::comm {

/// Returns when `holds` does. Looks again at once for a short while, then gives the core away between looks, since
/// there may be more ranks than cores; MPI makes progress meanwhile, as others may wait for this rank's messages.
void wait_until(const Communicator& communicator, const std::function<bool()>& holds);

/// For each rank of a node a table of numbers that all its mates read, and room for rows that all write into.
///
/// Why nobody overwrites what another still reads: a rank publishes the next use's table when it is done with what the
/// last use brought, and writes rows only after all have published. And it publishes only after its last use has ended,
/// for which it waited until all mates had signalled that they have written, which they do when they have read its
/// table. So tables and rows of a use are read before anybody can write those of the next.
class NodeRoom {
 public:
  /// `node`: the ranks of this rank's node; must outlive the object. Collective over them, as publish and make_room.
  explicit NodeRoom(const Communicator& node);

  /// Begins a use. Returns when all mates' tables are there.
  void publish(std::span<const Index> table);
  /// Valid until this rank's written().
  [[nodiscard]] std::span<const Index> table(Index mate) const;
  /// Makes room for bytes[m] of rows of each mate m; all ranks give the same numbers. To be called after publish.
  void make_room(std::span<const Index> bytes);
  /// 64-byte aligned.
  [[nodiscard]] std::byte* rows(Index mate) const;

  /// This rank has written all its rows of this use.
  void signal_written();
  [[nodiscard]] bool all_have_written() const;
  /// What other nodes sent to this rank in this use, the parts up to `part` (1, 2, ...), is in its room.
  void signal_landed(Index part);
  [[nodiscard]] bool has_landed(Index mate, Index part) const;

 private:
  // At the beginning of a segment; the last use of which something is true; of landed, also the part.
  struct Control {
    alignas(64) std::uint64_t published;
    Index table_size;
    alignas(64) std::uint64_t written;
    alignas(64) std::uint64_t landed;
  };
  struct Capacity {
    Index table = 0;  // numbers
    Index rows = 0;   // bytes
  };
  [[nodiscard]] std::uint64_t part_of_use(Index part) const { return use_ << 32 | static_cast<std::uint64_t>(part); }
  [[nodiscard]] Control& control(Index mate) const;
  [[nodiscard]] Index* table_begin(Index mate) const;
  void grow();

  const Communicator& node_;
  Index own_;
  std::vector<Capacity> capacity_;  // [ranks of the node]
  std::vector<Capacity> needed_;    // [ranks of the node]
  std::vector<Index> table_;        // this rank's
  std::uint64_t use_ = 0;
  SharedWindow window_;
};

}  // namespace conclave::comm
