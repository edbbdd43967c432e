// SPDX-License-Identifier: BSD-3-Clause
// Rows that travel as messages: gathered for each receiver, and put in their places where they arrive.
#pragma once

#include "comm/plan/exchange_shape.hpp"
#include "runtime/core/function_ref.hpp"

#include <cstddef>
#include <vector>

namespace conclave::comm {

/// Where the messages of one use of an inbox stand. What is sent to a peer stands together in a buffer of its own. What
/// comes from a peer is received in its final place where that is one run; else behind the rows of the inbox, to be
/// copied from there. All positions are in rows.
class Staging {
 public:
  /// Lays out the messages to and from the peers that `by_message` names.
  void lay_out(const plan::ExchangeShape& shape, FunctionRef<bool(RankId peer)> by_message);

  [[nodiscard]] Index rows_to_send() const { return rows_to_send_; }
  /// Rows that the inbox needs room for: those that arrive, and those received behind them.
  [[nodiscard]] Index rows_to_hold() const { return rows_to_hold_; }
  /// The rows of the message to each peer in the send buffer, and of that from each peer in the inbox; empty for those
  /// that exchange no message.  [num_ranks]
  [[nodiscard]] const std::vector<Range>& sent() const { return sent_; }
  [[nodiscard]] const std::vector<Range>& received() const { return received_; }
  [[nodiscard]] std::span<const Range> sent_to(RankId peer) const {
    return {&sent_[static_cast<std::size_t>(peer.value())], 1};
  }
  [[nodiscard]] std::span<const Range> received_from(RankId peer) const {
    return {&received_[static_cast<std::size_t>(peer.value())], 1};
  }

  /// Copies what was received behind the inbox's rows to its places among them.
  void put_in_place(std::byte* inbox, Index row_bytes) const;

 private:
  Index rows_to_send_ = 0;
  Index rows_to_hold_ = 0;
  std::vector<Range> sent_;
  std::vector<Range> received_;
  std::vector<plan::Stretch> copies_;  // within the inbox
};

}  // namespace conclave::comm
