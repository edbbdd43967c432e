// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/inbox.hpp"

#include "comm/mpi/exchange.hpp"
#include "runtime/core/parallel.hpp"

#include <exception>

namespace conclave::comm {

const Communicator& Inbox::communicator() const { return exchange_.communicator(); }
const plan::Topology& Inbox::topology() const { return exchange_.topology(); }

void Inbox::open(const plan::ExchangeShape& shape, Index row_bytes, const Sources& sources) {
  invariant(state_ == State::unused || state_ == State::arrived, "an inbox opened before its last use has ended");
  invariant(shape.num_ranks() == communicator().size() && row_bytes >= 0,
            "rows of {} bytes between {} ranks, on {} ranks", row_bytes, shape.num_ranks(), communicator().size());
  invariant(!sources || std::ssize(*sources) == shape.total_sent(), "the sources of {} of {} rows",
            sources ? sources->size() : 0, shape.total_sent());
  state_ = State::open;
  shape_ = shape;
  row_bytes_ = row_bytes;
  sources_ = sources;
  slots_.clear();
  places_.clear();
  steps_.clear();
  do_open();
  if (!are_placed()) place_rows();
}

void Inbox::add_slots(RankId peer, std::span<const Range> to, std::byte* buffer) {
  plan::for_each_stretch(shape_.sent().runs(peer), to, [&](const plan::Stretch& s) {
    slots_.push_back({s.from, s.rows, buffer + s.to * row_bytes_});
  });
}

void Inbox::take_slots_of(Inbox& other) {
  slots_.swap(other.slots_);
  places_.swap(other.places_);
}

void Inbox::note_step(Index phase, RankId from, RankId to, Index bytes) {
  if (bytes > 0) steps_.push_back({phase, from, to, bytes, plan::level_between(topology(), from, to)});
}

// Notes the place of every row, and joins slots that follow one another on both sides.
void Inbox::place_rows() {
  std::ranges::sort(slots_, {}, &Slot::first_row);
  std::size_t joined = 0;
  for (const Slot slot : slots_) {
    invariant(slot.first_row == std::ssize(places_), "row {} of those sent has no slot, or two", places_.size());
    for (Index row = 0; row < slot.rows; ++row) {
      places_.push_back(slot.to == nullptr ? nullptr : slot.to + row * row_bytes_);
    }
    if (slot.to == nullptr) continue;
    Slot* const before = joined > 0 ? &slots_[joined - 1] : nullptr;
    if (before != nullptr && before->first_row + before->rows == slot.first_row &&
        before->to + before->rows * row_bytes_ == slot.to) {
      before->rows += slot.rows;
    } else {
      slots_[joined++] = slot;
    }
  }
  slots_.resize(joined);
  invariant(are_placed(), "slots for {} of {} rows", places_.size(), shape_.total_sent());
}

std::span<const Slot> Inbox::slots() const {
  invariant(state_ == State::open, "slots of an inbox that is not open");
  return slots_;
}

const RowType& Inbox::row_type() {
  if (!row_type_ || row_type_->count() != row_bytes_) row_type_.emplace(row_bytes_, MPI_BYTE);
  return *row_type_;
}

template <class T>
void Inbox::write(std::type_identity_t<ConstMatrixView<T>> rows) const {
  const ScatteredRows<T> to = outgoing<T>();
  invariant(rows.rows == to.rows() && rows.cols == to.cols(), "{} x {} values written as {} x {}", rows.rows, rows.cols,
            to.rows(), to.cols());
  parallel_for_rows(rows.rows, [&](Index i) {
    if (to.wants(i)) std::ranges::copy(rows.row(i), to.row(i).begin());
  });
}

void Inbox::start() {
  invariant(state_ == State::open, "an inbox started that is not open");
  started_at_ = Clock::now();
  hidden_s_ = communicator().size() > 1 ? std::nullopt : std::optional(0.0);
  do_start();
  state_ = State::under_way;
}

bool Inbox::test() {
  invariant(state_ == State::under_way, "an inbox tested that was not started");
  const bool have_arrived = do_test();
  if (have_arrived) note_hidden();
  return have_arrived;
}

void Inbox::wait() {
  invariant(state_ == State::under_way, "an inbox waited for that was not started");
  note_hidden();
  do_wait();
  state_ = State::arrived;
}

void Inbox::note_hidden() {
  if (!hidden_s_) hidden_s_ = seconds_since(started_at_);
}

// Called from destructors, which must not throw: what fails here has nobody left who waits for it.
void Inbox::end_forgotten() noexcept {
  if (state_ != State::under_way || std::uncaught_exceptions() > 0) return;
  try {
    do_wait();
  } catch (...) {
  }
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
