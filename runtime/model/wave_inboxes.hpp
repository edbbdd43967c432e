// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "comm/mpi/exchange.hpp"
#include "runtime/core/scattered_rows.hpp"

#include <memory>
#include <vector>

namespace conclave::model {

/// One of a layer's exchanges, which has an inbox a wave: their rows, wave after wave, seen as those of one array.
template <class T>
class WaveInboxes {
 public:
  WaveInboxes(const comm::Exchange& exchange, const std::string& name, Index num_waves) {
    for (Index wave = 0; wave < num_waves; ++wave) {
      inboxes_.push_back(exchange.make_inbox(num_waves == 1 ? name : fmt::format("{}/{}", name, wave)));
    }
  }

  [[nodiscard]] comm::Inbox& of(Index wave) { return *inboxes_[static_cast<std::size_t>(wave)]; }
  [[nodiscard]] ConstMatrixView<T> arrived(Index wave) const {
    return std::as_const(*inboxes_[static_cast<std::size_t>(wave)]).template arrived<T>();
  }

  /// Where the rows of all waves, all of which must be open, are to be written. Valid until the next call of one of
  /// these two.
  [[nodiscard]] ScatteredRows<T> outgoing() {
    if (inboxes_.size() == 1) return inboxes_.front()->template outgoing<T>();
    places_.clear();
    Index cols = 0;
    for (const auto& inbox : inboxes_) {
      const ScatteredRows<T> rows = inbox->template outgoing<T>();
      cols = rows.cols();
      for (Index i = 0; i < rows.rows(); ++i) places_.push_back(reinterpret_cast<std::byte*>(rows.row(i).data()));
    }
    return {places_, cols};
  }
  /// Notes where the rows of all waves, which must have arrived, stand: arrived().
  void note_arrival() {
    places_.clear();
    if (inboxes_.size() == 1) return;
    for (const auto& inbox : inboxes_) {
      const MatrixView<T> rows = inbox->template arrived<T>();
      for (Index i = 0; i < rows.rows; ++i) places_.push_back(reinterpret_cast<std::byte*>(rows.row(i).data()));
    }
  }
  [[nodiscard]] ScatteredRows<const T> arrived() const {
    const ConstMatrixView<T> first = arrived(0);
    if (inboxes_.size() == 1) return first;
    return {places_, first.cols};
  }

 private:
  std::vector<std::unique_ptr<comm::Inbox>> inboxes_;  // [waves]
  std::vector<std::byte*> places_;                     // [rows] with several waves
};

}  // namespace conclave::model
