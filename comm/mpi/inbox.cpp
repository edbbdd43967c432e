// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/inbox.hpp"

#include "runtime/core/parallel.hpp"

namespace conclave::comm {

void Inbox::open(const plan::ExchangeShape& shape, Index row_bytes) {
  invariant(state_ == State::unused || state_ == State::arrived, "an inbox opened before its last use has ended");
  invariant(shape.num_ranks() == num_ranks_ && row_bytes >= 0, "rows of {} bytes between {} ranks, on {} ranks",
            row_bytes, shape.num_ranks(), num_ranks_);
  state_ = State::open;
  shape_ = shape;
  row_bytes_ = row_bytes;
  slots_.clear();
  do_open();
  place_rows();
}

void Inbox::add_slots(RankId peer, std::span<const Range> to, std::byte* buffer) {
  plan::for_each_stretch(shape_.sent().runs(peer), to, [&](const plan::Stretch& s) {
    slots_.push_back({s.from, s.rows, buffer + s.to * row_bytes_});
  });
}

// Sorts the slots, joins those that follow one another on both sides, and notes the place of every row.
void Inbox::place_rows() {
  std::ranges::sort(slots_, {}, &Slot::first_row);
  places_.clear();
  std::size_t last = 0;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const Slot slot = slots_[i];
    invariant(slot.first_row == std::ssize(places_), "row {} of those sent has no slot, or two", places_.size());
    for (Index row = 0; row < slot.rows; ++row) places_.push_back(slot.to + row * row_bytes_);
    if (i == 0) continue;
    Slot& before = slots_[last];
    if (before.to + before.rows * row_bytes_ == slot.to) {
      before.rows += slot.rows;
    } else {
      slots_[++last] = slot;
    }
  }
  if (!slots_.empty()) slots_.resize(last + 1);
  invariant(std::ssize(places_) == shape_.total_sent(), "slots for {} of {} rows", places_.size(), shape_.total_sent());
}

std::span<const Slot> Inbox::slots() const {
  invariant(state_ == State::open, "slots of an inbox that is not open");
  return slots_;
}

template <class T>
void Inbox::write(std::type_identity_t<ConstMatrixView<T>> rows) const {
  const ScatteredRows<T> to = outgoing<T>();
  invariant(rows.rows == to.rows() && rows.cols == to.cols(), "{} x {} values written as {} x {}", rows.rows, rows.cols,
            to.rows(), to.cols());
  constexpr Index chunk = 64;  // rows a call
  parallel_for((rows.rows + chunk - 1) / chunk, [&](Index c) {
    for (Index i = c * chunk; i < std::min((c + 1) * chunk, rows.rows); ++i) {
      std::ranges::copy(rows.row(i), to.row(i).begin());
    }
  });
}

void Inbox::start() {
  invariant(state_ == State::open, "an inbox started that is not open");
  do_start();
  state_ = State::under_way;
}

bool Inbox::test() {
  invariant(state_ == State::under_way, "an inbox tested that was not started");
  return do_test();
}

void Inbox::wait() {
  invariant(state_ == State::under_way, "an inbox waited for that was not started");
  do_wait();
  state_ = State::arrived;
}

Index Inbox::columns(std::size_t element_bytes) const {
  const auto bytes = static_cast<Index>(element_bytes);
  invariant(row_bytes_ % bytes == 0, "rows of {} bytes seen as elements of {}", row_bytes_, bytes);
  return row_bytes_ / bytes;
}

template void Inbox::write<float>(ConstMatrixView<float>) const;
template void Inbox::write<double>(ConstMatrixView<double>) const;
template void Inbox::write<std::int64_t>(ConstMatrixView<std::int64_t>) const;

}  // namespace conclave::comm
