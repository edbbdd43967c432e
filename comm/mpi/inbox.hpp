// SPDX-License-Identifier: BSD-3-Clause
// Where rows from all ranks arrive, again and again, and where their senders write them.
#pragma once

#include "comm/mpi/communicator.hpp"
#include "comm/plan/schedule.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/core/scattered_rows.hpp"

#include <optional>

namespace conclave::comm {

class Exchange;

/// Consecutive rows of the sending order, and where they are to be written, one after another.
struct Slot {
  Index first_row = 0;
  Index rows = 0;
  std::byte* to = nullptr;
};

/// A number for each row that a rank sends, small and not negative, the same for rows that are copies of one another;
/// nothing where these are not known. A rank that sends no row knows them as the others do.
using Sources = std::optional<std::span<const Index>>;

/// One use is: open, write every row that is sent, start, wait, read. It ends when the inbox is opened again: until
/// then what arrived stays, and nobody writes into it. open, start and wait are collective, and all ranks use their
/// inboxes of one exchange in the same order; between start and wait, others may be used. Buffers are kept from use to
/// use and grow rarely.
///
/// Rows are written once, where that can be: a rank's slots for itself are its inbox, so on one rank nothing is copied.
class Inbox {
 public:
  /// The exchange must outlive the inbox.
  explicit Inbox(const Exchange& exchange) : exchange_(exchange) {}
  virtual ~Inbox() = default;
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;

  /// Begins a use, with rows of row_bytes each. What arrived before is no longer needed by this rank. InvariantError
  /// for a shape of other ranks. `sources`: given by all ranks or by none.
  void open(const plan::ExchangeShape& shape, Index row_bytes, const Sources& sources = {});
  /// In the sending order, all rows that are to be written. Valid until start.
  [[nodiscard]] std::span<const Slot> slots() const;
  /// The same as rows: row i of the sending order is to be written at row(i).
  template <class T>
  [[nodiscard]] ScatteredRows<T> outgoing() const;
  /// Writes all rows: [rows sent, columns] in the sending order.
  template <class T>
  void write(std::type_identity_t<ConstMatrixView<T>> rows) const;

  /// Sends what stands in the slots.
  void start();
  /// Whether everything has arrived; makes progress. To be followed by wait all the same.
  [[nodiscard]] bool test();
  void wait();
  /// When the last use was started.
  [[nodiscard]] Clock::time_point started_at() const { return started_at_; }
  /// Seconds of the last use from start to when the rows were seen to have arrived, or, if that was earlier, to when
  /// wait was called: what of their way was hidden behind other work. 0 on one rank.
  [[nodiscard]] double hidden_s() const { return hidden_s_.value_or(0.0); }

  /// What arrived: [rows received, columns].
  template <class T>
  [[nodiscard]] MatrixView<T> arrived();
  template <class T>
  [[nodiscard]] ConstMatrixView<T> arrived() const;

  /// What this rank has sent, or written into others' memory, in the last use: its part of the strategy's schedule.
  [[nodiscard]] std::span<const plan::Step> steps() const { return steps_; }

 protected:
  [[nodiscard]] const Communicator& communicator() const;
  [[nodiscard]] const plan::Topology& topology() const;
  [[nodiscard]] RankId rank() const { return communicator().rank(); }
  [[nodiscard]] const plan::ExchangeShape& shape() const { return shape_; }
  [[nodiscard]] Index row_bytes() const { return row_bytes_; }
  /// A row as one datatype, so that more than 2^31 bytes can be counted. Made anew only for rows of another length.
  [[nodiscard]] const RowType& row_type();
  [[nodiscard]] const Sources& sources() const { return sources_; }
  /// Gives slots to the rows for a peer: the rows `to` of the buffer that begins at `buffer`. To be called from
  /// do_open, for every peer, in any order; or for a single row, with null for one that is not to be written.
  void add_slots(RankId peer, std::span<const Range> to, std::byte* buffer);
  void add_slot(Index row, std::byte* to) { slots_.push_back({row, 1, to}); }
  /// Instead of adding any: the slots, later the steps, of an inbox that this one stands for.
  void take_slots_of(Inbox& other);
  void take_steps_of(Inbox& other) { steps_.swap(other.steps_); }
  /// To be called from the destructor of a strategy whose uses do not end by themselves: ends one that nobody waited
  /// for, on all ranks; does nothing while an exception is unwinding, since others may never come.
  void end_forgotten() noexcept;
  /// Notes what goes to a peer, unless it is nothing.
  void note_step(Index phase, RankId from, RankId to, Index bytes);

 private:
  void note_hidden();
  /// Makes room as shape() says and gives slots to all rows that are sent.
  virtual void do_open() = 0;
  virtual void do_start() = 0;
  [[nodiscard]] virtual bool do_test() = 0;
  virtual void do_wait() = 0;
  /// The rows that arrived, one after another.
  [[nodiscard]] virtual std::byte* data() = 0;

  void place_rows();
  [[nodiscard]] bool are_placed() const { return std::ssize(places_) == shape_.total_sent(); }
  [[nodiscard]] Index columns(std::size_t element_bytes) const;

  enum class State { unused, open, under_way, arrived };
  const Exchange& exchange_;
  State state_ = State::unused;
  plan::ExchangeShape shape_;
  Index row_bytes_ = 0;
  std::optional<RowType> row_type_;
  std::vector<Slot> slots_;         // by first_row
  std::vector<std::byte*> places_;  // [rows sent]
  Sources sources_;                 // while the inbox is being opened
  std::vector<plan::Step> steps_;
  Clock::time_point started_at_{};
  std::optional<double> hidden_s_;  // once it is known
};

template <class T>
ScatteredRows<T> Inbox::outgoing() const {
  invariant(state_ == State::open, "rows written into an inbox that is not open");
  return {std::span<std::byte* const>(places_), columns(sizeof(T))};
}

template <class T>
MatrixView<T> Inbox::arrived() {
  invariant(state_ == State::arrived, "rows read from an inbox that they have not arrived in");
  const Index cols = columns(sizeof(T));
  return {reinterpret_cast<T*>(data()), shape_.total_received(), cols, cols};
}

template <class T>
ConstMatrixView<T> Inbox::arrived() const {
  return const_cast<Inbox*>(this)->arrived<T>();
}

}  // namespace conclave::comm
