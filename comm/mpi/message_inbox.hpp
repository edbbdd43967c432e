// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "comm/mpi/inbox.hpp"
#include "comm/mpi/staging.hpp"

namespace conclave::comm {

/// An inbox whose rows from others all come in messages: the slots of a peer's rows are a send buffer, those of the
/// rank's own rows their final place.
class MessageInbox : public Inbox {
 protected:
  using Inbox::Inbox;
  /// Lays out staging() and gives slots to all rows. To be called from do_open.
  void open_by_messages();

  [[nodiscard]] const Staging& staging() const { return staging_; }
  /// Row `row` of the send buffer (by peer), and of those that arrive and are received behind them.
  [[nodiscard]] std::byte* outgoing_row(Index row) { return outgoing_.data() + row * row_bytes(); }
  [[nodiscard]] std::byte* held_row(Index row) { return rows_.data() + row * row_bytes(); }

 private:
  std::byte* data() final { return rows_.data(); }

  Staging staging_;
  Matrix<std::byte> outgoing_;  // [rows for other ranks, row_bytes]
  Matrix<std::byte> rows_;      // [rows to hold, row_bytes]
};

}  // namespace conclave::comm
