// SPDX-License-Identifier: BSD-3-Clause
// One of a layer's exchanges of rows, in waves.
#pragma once

#include "comm/mpi/exchange.hpp"
#include "runtime/core/scattered_rows.hpp"
#include "runtime/core/trace.hpp"
#include "runtime/model/wire.hpp"

#include <deque>
#include <memory>
#include <vector>

namespace conclave::model {

/// An inbox a wave, whose rows, wave after wave, are seen as those of one array too. Uses of a wave follow one another
/// as those of comm::Inbox: open, write, send, wait, read; what is collective there is so here.
template <class T>
class WaveInboxes {
 public:
  /// `name` is what the inboxes are called where the exchange tells its choices.
  WaveInboxes(const comm::Exchange& exchange, const std::string& name, Wire wire, Index num_waves);

  /// sources: as comm::Inbox::open takes them, of the wave's rows.
  void open(Index wave, const plan::ExchangeShape& shape, Index width, const comm::Sources& sources = {});
  /// Where the rows of an open wave, or of all waves if all are open, are to be written; a row that is a copy of
  /// another and need not be has no place (null). The latter is valid until the
  /// next call of it, or until the last wait.
  [[nodiscard]] ScatteredRows<T> outgoing(Index wave);
  [[nodiscard]] ScatteredRows<T> outgoing();
  void send(Index wave);
  /// Makes progress on what was sent.
  void poll();
  /// What it waits is Phase::wait; `times` is told of the rows' way as a part of `phase`.
  void wait(Index wave, Phase phase, PhaseTimes& times);
  /// What arrived: [rows, width].
  [[nodiscard]] ConstMatrixView<T> arrived(Index wave) const;
  [[nodiscard]] MatrixView<T> arrived(Index wave);
  /// Of all waves, once all have arrived.
  [[nodiscard]] ScatteredRows<const T> arrived() const;

 private:
  struct Wave {
    std::unique_ptr<comm::Inbox> inbox;
    bool is_under_way = false;
    Index rows_sent = 0, rows_received = 0, width = 0;
    Matrix<T> outgoing, arrived;  // with bf16: [rows, width] before they are rounded, and after they have come
  };
  [[nodiscard]] Wave& of(Index wave) { return waves_[static_cast<std::size_t>(wave)]; }
  [[nodiscard]] const Wave& of(Index wave) const { return waves_[static_cast<std::size_t>(wave)]; }
  [[nodiscard]] Index element_bytes() const {
    return static_cast<Index>(wire_ == Wire::fp32 ? sizeof(T) : sizeof(std::uint16_t));
  }
  void note_places();

  Wire wire_;
  std::deque<Wave> waves_;
  std::vector<std::byte*> places_;  // [rows] of all waves, where there are several
};

}  // namespace conclave::model
