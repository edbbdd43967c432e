// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/communicator.hpp"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

namespace conclave::comm {
namespace {

// How many of something each rank has, and where its part begins, as MPI wants them.
struct Layout {
  std::vector<int> counts;         // [size]
  std::vector<int> displacements;  // [size]
  Index total = 0;
};

// Parts one after another, in rank order.
Layout layout_of(std::span<const std::int64_t> counts, std::string_view what) {
  Layout layout;
  for (const Index count : counts) {
    layout.counts.push_back(checked_int(count, what));
    layout.displacements.push_back(checked_int(layout.total, what));
    layout.total += count;
  }
  static_cast<void>(checked_int(layout.total, what));
  return layout;
}

template <class T>
T all_reduce(T value, MPI_Op operation, MPI_Comm comm) {
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &value, 1, mpi_type<T>(), operation, comm), "MPI_Allreduce");
  return value;
}

// One value of each rank, in rank order.
std::vector<std::int64_t> gather_one(std::int64_t value, const Communicator& communicator) {
  std::vector<std::int64_t> values(static_cast<std::size_t>(communicator.size()));
  check_mpi(MPI_Allgather(&value, 1, MPI_INT64_T, values.data(), 1, MPI_INT64_T, communicator.handle()),
            "MPI_Allgather");
  return values;
}

template <class T>
std::vector<T> gather_by(const Layout& layout, std::span<const T> values, MPI_Comm comm) {
  std::vector<T> all(static_cast<std::size_t>(layout.total));
  check_mpi(MPI_Allgatherv(values.data(), static_cast<int>(values.size()), mpi_type<T>(), all.data(),
                           layout.counts.data(), layout.displacements.data(), mpi_type<T>(), comm),
            "MPI_Allgatherv");
  return all;
}

}  // namespace

Communicator Communicator::world() {
  // The duplicate inherits the handler: a failure to duplicate is reported as any other.
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  MPI_Comm comm = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &comm), "MPI_Comm_dup");
  return Communicator(comm);
}

Communicator Communicator::duplicate() const {
  MPI_Comm comm = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(comm_, &comm), "MPI_Comm_dup");
  return Communicator(comm);
}

Communicator Communicator::split(Index colour) const {
  MPI_Comm comm = MPI_COMM_NULL;
  const int mpi_colour = colour < 0 ? MPI_UNDEFINED : checked_int(colour, "a colour");
  check_mpi(MPI_Comm_split(comm_, mpi_colour, static_cast<int>(rank_.value()), &comm), "MPI_Comm_split");
  return Communicator(comm);
}

Communicator::Communicator(MPI_Comm comm) : comm_(comm) {
  if (comm_ == MPI_COMM_NULL) return;
  int rank = 0;
  int size = 0;
  check_mpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check_mpi(MPI_Comm_rank(comm_, &rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(comm_, &size), "MPI_Comm_size");
  rank_ = RankId{rank};
  size_ = size;
}

Communicator::Communicator(Communicator&& other) noexcept { *this = std::move(other); }

Communicator& Communicator::operator=(Communicator&& other) noexcept {
  std::swap(comm_, other.comm_);
  std::swap(rank_, other.rank_);
  std::swap(size_, other.size_);
  return *this;
}

Communicator::~Communicator() {
  if (comm_ != MPI_COMM_NULL) MPI_Comm_free(&comm_);
}

plan::Topology Communicator::topology() const {
  MPI_Comm comm = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(comm_, MPI_COMM_TYPE_SHARED, static_cast<int>(rank_.value()), MPI_INFO_NULL, &comm),
            "MPI_Comm_split_type");
  const Communicator node(comm);
  return plan::Topology(gather_one(node.min(rank_.value()), *this));
}

void Communicator::barrier() const { check_mpi(MPI_Barrier(comm_), "MPI_Barrier"); }

void Communicator::idle_barrier() const {
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Ibarrier(comm_, &request), "MPI_Ibarrier");
  for (int done = 0; done == 0;) {
    check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test");
    if (done == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

void Communicator::sum(std::span<std::int64_t> values) const {
  const int count = checked_int(std::ssize(values), "values to be summed");
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, values.data(), count, MPI_INT64_T, MPI_SUM, comm_), "MPI_Allreduce");
}

std::int64_t Communicator::sum(std::int64_t value) const { return all_reduce(value, MPI_SUM, comm_); }
std::uint64_t Communicator::sum_modulo(std::uint64_t value) const { return all_reduce(value, MPI_SUM, comm_); }
std::int64_t Communicator::max(std::int64_t value) const { return all_reduce(value, MPI_MAX, comm_); }
std::int64_t Communicator::min(std::int64_t value) const { return all_reduce(value, MPI_MIN, comm_); }
double Communicator::max(double value) const { return all_reduce(value, MPI_MAX, comm_); }

template <class T>
void Communicator::broadcast(std::span<T> values, RankId root) const {
  constexpr std::size_t most = std::size_t{1} << 30;  // values a call, so that MPI's int can count them
  const int mpi_root = checked_int(root.value(), "a root");
  do {
    const auto part = values.first(std::min(values.size(), most));
    check_mpi(MPI_Bcast(part.data(), static_cast<int>(part.size()), mpi_type<T>(), mpi_root, comm_), "MPI_Bcast");
    values = values.subspan(part.size());
  } while (!values.empty());
}

std::string Communicator::broadcast(std::string text, RankId root) const {
  auto length = static_cast<std::int64_t>(text.size());
  broadcast(std::span(&length, 1), root);
  text.resize(static_cast<std::size_t>(length));
  broadcast(std::span(text), root);
  return text;
}

template <class T>
std::vector<T> Communicator::gather_all(std::span<const T> values) const {
  return gather_by(layout_of(gather_one(std::ssize(values), *this), "values to be gathered"), values, comm_);
}

template <class T>
void Communicator::gather_all_in_place(std::span<T> all, const std::vector<Range>& range_of_rank) const {
  invariant(std::ssize(range_of_rank) == size_, "{} ranges for {} ranks", range_of_rank.size(), size_);
  Layout layout;
  for (const Range& range : range_of_rank) {
    invariant(0 <= range.begin && range.begin <= range.end && range.end <= std::ssize(all), "values [{}, {}) of {}",
              range.begin, range.end, all.size());
    layout.counts.push_back(checked_int(range.size(), "values to be gathered"));
    layout.displacements.push_back(checked_int(range.begin, "values to be gathered"));
  }
  check_mpi(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all.data(), layout.counts.data(),
                           layout.displacements.data(), mpi_type<T>(), comm_),
            "MPI_Allgatherv");
}

std::vector<std::string> Communicator::gather_all(const std::string& text) const {
  const Layout layout = layout_of(gather_one(std::ssize(text), *this), "characters to be gathered");
  const std::vector<char> all = gather_by(layout, std::span<const char>(text), comm_);
  std::vector<std::string> texts;
  for (std::size_t r = 0; r < layout.counts.size(); ++r) {
    const auto begin = all.begin() + layout.displacements[r];
    texts.emplace_back(begin, begin + layout.counts[r]);
  }
  return texts;
}

std::vector<std::int64_t> Communicator::all_to_all(std::span<const std::int64_t> values) const {
  invariant(std::ssize(values) % size_ == 0, "{} values shared out evenly to {} ranks", values.size(), size_);
  const int each = checked_int(std::ssize(values) / size_, "values for a rank");
  std::vector<std::int64_t> received(values.size());
  check_mpi(MPI_Alltoall(values.data(), each, MPI_INT64_T, received.data(), each, MPI_INT64_T, comm_), "MPI_Alltoall");
  return received;
}

std::vector<std::int64_t> Communicator::all_to_all(std::span<const std::int64_t> values,
                                                   const plan::ExchangeShape& shape) const {
  invariant(shape.num_ranks() == size_ && shape.total_sent() == std::ssize(values),
            "{} values sent by a shape of {} values on {} ranks, with {} ranks", values.size(), shape.total_sent(),
            shape.num_ranks(), size_);
  std::vector<std::int64_t> to;
  std::vector<std::int64_t> from;
  for (RankId peer; peer < RankId{size_}; ++peer) {
    to.push_back(shape.rows_to(peer));
    from.push_back(shape.rows_from(peer));
  }
  const Layout send = layout_of(to, "values to be sent");
  const Layout receive = layout_of(from, "values to be received");
  std::vector<std::int64_t> received(static_cast<std::size_t>(receive.total));
  check_mpi(MPI_Alltoallv(values.data(), send.counts.data(), send.displacements.data(), MPI_INT64_T, received.data(),
                          receive.counts.data(), receive.displacements.data(), MPI_INT64_T, comm_),
            "MPI_Alltoallv");
  return received;
}

void Communicator::agree(const std::string& error, const std::string& hint) const {
  const Index num_failed = sum(std::int64_t{!error.empty()});
  if (num_failed == 0) return;
  const RankId lowest{min(error.empty() ? size_ : rank_.value())};
  const std::string text = broadcast(error, lowest);
  const std::string remedy = broadcast(hint, lowest);
  if (size_ == 1) throw InputError(text, remedy);
  throw InputError(fmt::format("{} (rank {}; {} of {} ranks failed)", text, lowest.value(), num_failed, size_), remedy);
}

#define CONCLAVE_INSTANTIATE(T)                                                  \
  template void Communicator::broadcast<T>(std::span<T>, RankId) const;          \
  template std::vector<T> Communicator::gather_all<T>(std::span<const T>) const; \
  template void Communicator::gather_all_in_place<T>(std::span<T>, const std::vector<Range>&) const;
CONCLAVE_INSTANTIATE(char)
CONCLAVE_INSTANTIATE(std::byte)
CONCLAVE_INSTANTIATE(std::int32_t)
CONCLAVE_INSTANTIATE(std::int64_t)
CONCLAVE_INSTANTIATE(std::uint64_t)
CONCLAVE_INSTANTIATE(float)
CONCLAVE_INSTANTIATE(double)
#undef CONCLAVE_INSTANTIATE

}  // namespace conclave::comm
