// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/plain_collectives.hpp"

#include <gtest/gtest.h>

#include "tests/support/mpi_world.hpp"

namespace conclave::comm {
namespace {

using test::world;

// Byte b from rank s to rank r.
std::byte content(Index from, Index to, Index b) { return static_cast<std::byte>(7 * from + 31 * to + 3 * b + 1); }

TEST(PlainCollectives, EveryRankGetsWhatIsForIt) {
  const Index size = world().size();
  const Index rank = world().rank().value();
  constexpr Index bytes = 5;
  std::vector<std::byte> sent;
  std::vector<std::byte> expected;
  for (Index peer = 0; peer < size; ++peer) {
    for (Index b = 0; b < bytes; ++b) {
      sent.push_back(content(rank, peer, b));
      expected.push_back(content(peer, rank, b));
    }
  }
  std::vector<std::byte> received(sent.size());
  plain_all_to_all(world(), sent, received);
  EXPECT_EQ(received, expected);
  received.push_back(std::byte{0});
  EXPECT_THROW(plain_all_to_all(world(), sent, received), InvariantError);
}

TEST(PlainCollectives, SumsAreOverAllRanks) {
  const Index size = world().size();
  std::vector<float> values{static_cast<float>(world().rank().value() + 1), 2.0F};
  plain_all_reduce(world(), values);
  EXPECT_EQ(values, (std::vector<float>{static_cast<float>(size * (size + 1) / 2), static_cast<float>(2 * size)}));
}

}  // namespace
}  // namespace conclave::comm
