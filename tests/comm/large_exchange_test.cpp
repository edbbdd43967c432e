// SPDX-License-Identifier: BSD-3-Clause
// Messages of more than 2^31 bytes: their counts do not fit MPI's int unless rows travel as one datatype each.
#include "comm/mpi/reproducible_reduce.hpp"
#include "comm/mpi/slice_gather.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "tests/support/mpi_world.hpp"

namespace conclave::comm {
namespace {

using test::world;

constexpr Index row_bytes = Index{1} << 20;
constexpr Index row_values = row_bytes / static_cast<Index>(sizeof(std::int64_t));
constexpr Index num_rows = 2200;
static_assert(num_rows * row_bytes > std::numeric_limits<int>::max());

/// The value in column c of the i-th row from s to d.
std::int64_t payload(Index s, Index d, Index i, Index c) { return ((s * 2 + d) * num_rows + i) * row_values + c; }

/// num_rows rows from each rank to the rank `distance` further on.
void exchange_large_rows(Index distance) {
  const Index size = world().size();
  const Index rank = world().rank().value();
  const Index to = (rank + distance) % size;
  const Index from = (rank + size - distance) % size;
  std::vector<Index> send_rows(static_cast<std::size_t>(size), 0);
  std::vector<Index> receive_rows(static_cast<std::size_t>(size), 0);
  send_rows[static_cast<std::size_t>(to)] = num_rows;
  receive_rows[static_cast<std::size_t>(from)] = num_rows;

  const auto exchange = make_exchange("flat", world());
  const auto inbox = exchange->make_inbox("test");
  inbox->open({send_rows, receive_rows}, row_bytes);
  const ScatteredRows<std::int64_t> sent = inbox->outgoing<std::int64_t>();
  for (Index i = 0; i < num_rows; ++i) {
    for (Index c = 0; c < row_values; ++c) sent.row(i)[static_cast<std::size_t>(c)] = payload(rank, to, i, c);
  }
  inbox->start();
  inbox->wait();
  const MatrixView<std::int64_t> received = inbox->arrived<std::int64_t>();
  Index wrong = 0;
  for (Index i = 0; i < num_rows; ++i) {
    for (Index c = 0; c < row_values; ++c) wrong += received(i, c) == payload(from, rank, i, c) ? 0 : 1;
  }
  EXPECT_EQ(wrong, 0);
}

TEST(LargeExchange, RowsToTheOtherRank) {
  ASSERT_EQ(world().size(), 2);
  exchange_large_rows(1);
}

TEST(LargeExchange, RowsToItself) { exchange_large_rows(0); }

TEST(LargeExchange, SlicesOfMoreBytesThanAnIntCounts) {
  const Index num_elements = num_rows * row_bytes / static_cast<Index>(sizeof(double)) * 2 + 5;
  const plan::ReducePlan plan(num_elements, 1, world().size());
  const Range own = plan.slice_of(world().rank());
  EXPECT_GT(own.size() * static_cast<Index>(sizeof(double)), std::numeric_limits<int>::max());
  Matrix<double> values(1, num_elements);
  for (Index i = own.begin; i < own.end; ++i) values(0, i) = static_cast<double>(i);
  const auto exchange = make_exchange("flat", world());
  all_gather_slices<double>(plan, *exchange, values.flat());
  Index wrong = 0;
  for (Index i = 0; i < num_elements; ++i) wrong += values(0, i) == static_cast<double>(i) ? 0 : 1;
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace conclave::comm
