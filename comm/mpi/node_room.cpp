// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/node_room.hpp"

#include <sched.h>

#include <algorithm>
#include <atomic>

namespace conclave::comm {
namespace {

constexpr Index line_bytes = SharedWindow::line_bytes;
constexpr Index first_table = 1024;                 // numbers
constexpr Index first_rows_bytes = Index{1} << 16;  // so that small inboxes never grow

Index whole_lines(Index bytes) { return (bytes + line_bytes - 1) / line_bytes * line_bytes; }

static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free, "processes share no lock");

std::uint64_t load(std::uint64_t& value) { return std::atomic_ref(value).load(std::memory_order_acquire); }
void store(std::uint64_t& value, std::uint64_t what) { std::atomic_ref(value).store(what, std::memory_order_release); }

}  // namespace

void wait_until(const Communicator& communicator, const std::function<bool()>& holds) {
  constexpr int looks = 200;
  for (int i = 0; i < looks; ++i) {
    if (holds()) return;
  }
  while (!holds()) {
    sched_yield();
    int any = 0;
    check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, communicator.handle(), &any, MPI_STATUS_IGNORE), "MPI_Iprobe");
  }
}

NodeRoom::NodeRoom(const Communicator& node)
    : node_(node),
      own_(node.rank().value()),
      capacity_(static_cast<std::size_t>(node.size())),
      needed_(static_cast<std::size_t>(node.size()), {first_table, first_rows_bytes}) {
  grow();
}

NodeRoom::Control& NodeRoom::control(Index mate) const { return *reinterpret_cast<Control*>(window_.segment(mate)); }

Index* NodeRoom::table_begin(Index mate) const {
  return reinterpret_cast<Index*>(window_.segment(mate) + sizeof(Control));
}

std::span<const Index> NodeRoom::table(Index mate) const {
  return {table_begin(mate), static_cast<std::size_t>(control(mate).table_size)};
}

std::byte* NodeRoom::rows(Index mate) const {
  const Index tables = whole_lines(capacity_[static_cast<std::size_t>(mate)].table * static_cast<Index>(sizeof(Index)));
  return window_.segment(mate) + sizeof(Control) + tables;
}

void NodeRoom::publish(std::span<const Index> table) {
  ++use_;
  table_.assign(table.begin(), table.end());
  Control& own = control(own_);
  own.table_size = std::ssize(table);
  if (own.table_size <= capacity_[static_cast<std::size_t>(own_)].table) std::ranges::copy(table, table_begin(own_));
  store(own.published, use_);
  bool fits = true;
  for (Index mate = 0; mate < node_.size(); ++mate) {
    wait_until(node_, [&] { return load(control(mate).published) >= use_; });
    needed_[static_cast<std::size_t>(mate)].table = control(mate).table_size;
    fits = fits && control(mate).table_size <= capacity_[static_cast<std::size_t>(mate)].table;
  }
  if (!fits) grow();
}

void NodeRoom::make_room(std::span<const Index> bytes) {
  bool fits = true;
  for (std::size_t m = 0; m < bytes.size(); ++m) {
    needed_[m].rows = bytes[m];
    fits = fits && bytes[m] <= capacity_[m].rows;
  }
  if (!fits) grow();
}

// New segments for all ranks, each with a quarter to spare, so that it happens rarely. Nobody needs what stands in the
// old ones but the tables.
void NodeRoom::grow() {
  const auto grown = [](Index capacity, Index needed) { return needed <= capacity ? capacity : needed + needed / 4; };
  for (std::size_t m = 0; m < capacity_.size(); ++m) {
    capacity_[m] = {grown(capacity_[m].table, needed_[m].table), grown(capacity_[m].rows, needed_[m].rows)};
  }
  const Capacity own = capacity_[static_cast<std::size_t>(own_)];
  const Index bytes = static_cast<Index>(sizeof(Control)) + whole_lines(own.table * static_cast<Index>(sizeof(Index))) +
                      whole_lines(own.rows);
  SharedWindow window(node_, bytes);
  *reinterpret_cast<Control*>(window.segment(own_)) = {use_, std::ssize(table_), 0, 0};
  std::ranges::copy(table_, reinterpret_cast<Index*>(window.segment(own_) + sizeof(Control)));
  std::atomic_thread_fence(std::memory_order_seq_cst);
  node_.barrier();
  window_ = std::move(window);
}

void NodeRoom::signal_written() { store(control(own_).written, use_); }
void NodeRoom::signal_landed(Index part) { store(control(own_).landed, part_of_use(part)); }

bool NodeRoom::all_have_written() const {
  for (Index mate = 0; mate < node_.size(); ++mate) {
    if (load(control(mate).written) < use_) return false;
  }
  return true;
}

bool NodeRoom::has_landed(Index mate, Index part) const { return load(control(mate).landed) >= part_of_use(part); }

}  // namespace conclave::comm
