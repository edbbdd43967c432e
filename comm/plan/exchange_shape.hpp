// SPDX-License-Identifier: BSD-3-Clause
// How many rows a rank sends to and receives from each peer: all that an exchange has to know about them.
#pragma once

#include "runtime/core/ids.hpp"

#include <vector>

namespace conclave::plan {

/// One rank's side of an all-to-all of rows. Rows to (from) peer r follow those to (from) peer r-1 in the send
/// (receive) buffer.
class ExchangeShape {
 public:
  /// Throws InvariantError unless both have one non-negative count a peer.
  ExchangeShape(std::vector<Index> send_rows, std::vector<Index> receive_rows);

  [[nodiscard]] Index num_ranks() const { return static_cast<Index>(send_rows_.size()); }
  [[nodiscard]] Index rows_to(RankId peer) const { return send_rows_[static_cast<std::size_t>(peer.value())]; }
  [[nodiscard]] Index rows_from(RankId peer) const { return receive_rows_[static_cast<std::size_t>(peer.value())]; }
  /// The first row for (from) peer r in the send (receive) buffer.
  [[nodiscard]] Index send_offset(RankId peer) const { return send_offsets_[static_cast<std::size_t>(peer.value())]; }
  [[nodiscard]] Index receive_offset(RankId peer) const {
    return receive_offsets_[static_cast<std::size_t>(peer.value())];
  }
  [[nodiscard]] Index total_sent() const { return send_offsets_.back(); }
  [[nodiscard]] Index total_received() const { return receive_offsets_.back(); }
  /// The way back: what was received is sent to where it came from. Also the adjoint of the exchange.
  [[nodiscard]] ExchangeShape inverse() const { return {receive_rows_, send_rows_}; }
  friend bool operator==(const ExchangeShape&, const ExchangeShape&) = default;

 private:
  std::vector<Index> send_rows_;        // [num_ranks]
  std::vector<Index> receive_rows_;     // [num_ranks]
  std::vector<Index> send_offsets_;     // [num_ranks + 1], the last is the total
  std::vector<Index> receive_offsets_;  // [num_ranks + 1]
};

}  // namespace conclave::plan
