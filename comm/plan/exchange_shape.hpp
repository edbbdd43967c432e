// SPDX-License-Identifier: BSD-3-Clause
// Which rows a rank sends to and receives from each peer, and where they stand: all that an exchange has to know.
#pragma once

#include "comm/plan/row_layout.hpp"

#include <utility>

namespace conclave::plan {

/// One rank's side of an all-to-all of rows. The rows from one rank to another travel in an order that both sides agree
/// on: the sender's runs for the receiver, one after another, become the receiver's runs from the sender. So rows may
/// be sent in one order and stand in another where they arrive.
class ExchangeShape {
 public:
  /// Nobody, and no rows.
  ExchangeShape() = default;
  /// Throws InvariantError unless both sides have the same number of peers.
  ExchangeShape(RowLayout sent, RowLayout received);
  /// Peer after peer on both sides.
  ExchangeShape(const std::vector<Index>& rows_to, const std::vector<Index>& rows_from)
      : ExchangeShape(RowLayout::by_peer(rows_to), RowLayout::by_peer(rows_from)) {}

  /// Become such a shape, or the inverse of one, in the memory that this one has.
  void assign(const RowLayout& sent, const RowLayout& received);
  void assign_inverse(const ExchangeShape& forth) { assign(forth.received_, forth.sent_); }

  [[nodiscard]] Index num_ranks() const { return sent_.num_peers(); }
  [[nodiscard]] const RowLayout& sent() const { return sent_; }
  [[nodiscard]] const RowLayout& received() const { return received_; }
  [[nodiscard]] Index rows_to(RankId peer) const { return sent_.rows(peer); }
  [[nodiscard]] Index rows_from(RankId peer) const { return received_.rows(peer); }
  [[nodiscard]] Index total_sent() const { return sent_.num_rows(); }
  [[nodiscard]] Index total_received() const { return received_.num_rows(); }
  /// The way back: what was received is sent to where it came from. Also the adjoint of the exchange.
  [[nodiscard]] ExchangeShape inverse() const { return {received_, sent_}; }
  friend bool operator==(const ExchangeShape&, const ExchangeShape&) = default;

 private:
  void check() const;

  RowLayout sent_;
  RowLayout received_;
};

}  // namespace conclave::plan
