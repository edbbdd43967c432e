// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/wave_inboxes.hpp"

#include "runtime/core/bf16.hpp"
#include "runtime/core/parallel.hpp"

namespace conclave::model {
namespace {

template <class T, class Rows>
void append_places(const Rows& rows, Index count, std::vector<std::byte*>& places) {
  for (Index i = 0; i < count; ++i) places.push_back(reinterpret_cast<std::byte*>(rows.row(i).data()));
}

}  // namespace

template <class T>
WaveInboxes<T>::WaveInboxes(const comm::Exchange& exchange, const std::string& name, Wire wire, Index num_waves)
    : wire_(wire) {
  for (Index wave = 0; wave < num_waves; ++wave) {
    waves_.emplace_back().inbox = exchange.make_inbox(num_waves == 1 ? name : fmt::format("{}/{}", name, wave));
  }
}

template <class T>
void WaveInboxes<T>::open(Index wave, const plan::ExchangeShape& shape, Index width, const comm::Sources& sources) {
  Wave& w = of(wave);
  w.inbox->open(shape, width * element_bytes(), sources);
  w.rows_sent = shape.total_sent();
  w.rows_received = shape.total_received();
  w.width = width;
  if (wire_ == Wire::fp32) return;
  w.outgoing.resize(w.rows_sent, width);
  w.arrived.resize(w.rows_received, width);
}

template <class T>
ScatteredRows<T> WaveInboxes<T>::outgoing(Index wave) {
  Wave& w = of(wave);
  if (wire_ == Wire::bf16) return w.outgoing.view();
  return w.inbox->template outgoing<T>();
}

template <class T>
ScatteredRows<T> WaveInboxes<T>::outgoing() {
  if (waves_.size() == 1) return outgoing(0);
  places_.clear();
  for (Index wave = 0; wave < std::ssize(waves_); ++wave) {
    append_places<T>(outgoing(wave), of(wave).rows_sent, places_);
  }
  return {places_, of(0).width};
}

template <class T>
void WaveInboxes<T>::send(Index wave) {
  Wave& w = of(wave);
  if (wire_ == Wire::bf16) {
    const ScatteredRows<std::uint16_t> slots = w.inbox->template outgoing<std::uint16_t>();
    parallel_for_rows(w.rows_sent, [&](Index i) {
      if (slots.wants(i)) to_bf16<T>(std::as_const(w.outgoing).row(i), slots.row(i));
    });
  }
  w.inbox->start();
  w.is_under_way = true;
}

template <class T>
void WaveInboxes<T>::poll() {
  for (Wave& w : waves_) {
    if (w.is_under_way) static_cast<void>(w.inbox->test());
  }
}

template <class T>
void WaveInboxes<T>::wait(Index wave, Phase phase, PhaseTimes& times) {
  constexpr std::string_view what = "rows";
  Wave& w = of(wave);
  {
    const PhaseScope scope(times, Phase::wait, what);
    w.inbox->wait();
  }
  times.add({.of = what,
             .phase = phase,
             .started_at = w.inbox->started_at(),
             .hidden_s = w.inbox->hidden_s(),
             .wave = wave,
             .rows = w.rows_received,
             .bytes = w.rows_received * w.width * element_bytes()});
  w.is_under_way = false;
  if (wire_ == Wire::bf16) {
    const MatrixView<std::uint16_t> rows = w.inbox->template arrived<std::uint16_t>();
    parallel_for_rows(w.rows_received, [&](Index i) { from_bf16<T>(rows.row(i), w.arrived.row(i)); });
  }
  if (wave + 1 == std::ssize(waves_)) note_places();
}

// Of the rows that arrived.
template <class T>
void WaveInboxes<T>::note_places() {
  places_.clear();
  if (waves_.size() == 1) return;
  for (Index wave = 0; wave < std::ssize(waves_); ++wave) {
    if (of(wave).is_under_way) return;
    const MatrixView<T> rows = arrived(wave);
    append_places<T>(rows, rows.rows, places_);
  }
}

template <class T>
MatrixView<T> WaveInboxes<T>::arrived(Index wave) {
  Wave& w = of(wave);
  return wire_ == Wire::bf16 ? w.arrived.view() : w.inbox->template arrived<T>();
}

template <class T>
ConstMatrixView<T> WaveInboxes<T>::arrived(Index wave) const {
  const Wave& w = of(wave);
  if (wire_ == Wire::bf16) return w.arrived.view();
  return std::as_const(*w.inbox).template arrived<T>();
}

template <class T>
ScatteredRows<const T> WaveInboxes<T>::arrived() const {
  if (waves_.size() == 1) return arrived(0);
  return {places_, of(0).width};
}

template class WaveInboxes<float>;
template class WaveInboxes<double>;

}  // namespace conclave::model
