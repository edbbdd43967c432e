// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/request.hpp"

#include "comm/mpi/datatype.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "tests/support/mpi_world.hpp"

namespace conclave::comm {
namespace {

using test::world;

/// A message of two values from this rank to itself, received into as many as `received` holds.
class ToSelf {
 public:
  explicit ToSelf(std::size_t room) : received(room, -1) {
    const int self = static_cast<int>(world().rank().value());
    // Sent first: Open MPI does not notice that a small message is too long for a receive that waits on the same rank.
    MPI_Request send = MPI_REQUEST_NULL;
    MPI_Isend(sent.data(), 2, MPI_INT64_T, self, 0, world().handle(), &send);
    sending_ = Request(send);
    MPI_Irecv(received.data(), static_cast<int>(room), MPI_INT64_T, self, 0, world().handle(), &receive_);
  }
  [[nodiscard]] Request receiving(std::shared_ptr<const void> keep_alive = {}) {
    return Request(std::exchange(receive_, MPI_REQUEST_NULL), std::move(keep_alive));
  }

  const std::vector<std::int64_t> sent{7, 8};
  std::vector<std::int64_t> received;

 private:
  MPI_Request receive_ = MPI_REQUEST_NULL;
  Request sending_;
};

TEST(Request, AnEmptyOneHasEnded) {
  Request request;
  EXPECT_TRUE(request.test());
  EXPECT_NO_THROW(request.wait());
}

TEST(Request, WaitsAndMayBeWaitedForAgain) {
  ToSelf message(2);
  Request request = message.receiving();
  request.wait();
  EXPECT_EQ(message.received, message.sent);
  EXPECT_NO_THROW(request.wait());
  EXPECT_TRUE(request.test());
}

TEST(Request, EndsByPolling) {
  ToSelf message(2);
  Request request = message.receiving();
  while (!request.test()) continue;
  EXPECT_EQ(message.received, message.sent);
}

TEST(Request, MovesWithWhatItKeepsAlive) {
  ToSelf message(2);
  auto counts = std::make_shared<const std::vector<int>>(3);
  const std::weak_ptr<const void> alive = counts;
  Request first = message.receiving(std::move(counts));
  Request second = std::move(first);
  first = Request{};
  EXPECT_FALSE(alive.expired()) << "freed while the operation is under way";
  Request third;
  third = std::move(second);
  third.wait();
  EXPECT_EQ(message.received, message.sent);
  EXPECT_TRUE(alive.expired()) << "kept after the operation has ended";
}

TEST(Request, AssigningEndsTheOneBefore) {
  ToSelf one(2);
  ToSelf other(2);
  Request request = one.receiving();
  request = other.receiving();
  EXPECT_EQ(one.received, one.sent);
  request.wait();
  EXPECT_EQ(other.received, other.sent);
}

TEST(Request, WaitThrowsTheErrorOfItsOperation) {
  ToSelf message(1);
  Request request = message.receiving();
  try {
    request.wait();
    ADD_FAILURE() << "a message longer than its buffer was received";
  } catch (const MpiError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("MPI_Wait failed"));
    EXPECT_THAT(error.what(), testing::HasSubstr("trunc"));
  }
}

TEST(Request, TestThrowsTheErrorOfItsOperation) {
  ToSelf message(1);
  Request request = message.receiving();
  EXPECT_THROW(
      {
        while (!request.test()) continue;
      },
      MpiError);
}

TEST(Request, TheDestructorSwallowsErrors) {
  ToSelf message(1);
  { const Request request = message.receiving(); }
  EXPECT_EQ(world().sum(std::int64_t{1}), world().size());
}

}  // namespace
}  // namespace conclave::comm
