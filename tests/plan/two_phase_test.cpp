// SPDX-License-Identifier: BSD-3-Clause
#include "comm/plan/two_phase.hpp"

#include "runtime/core/error.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace conclave::plan {
namespace {

// From one node's place to the other's, by two hops: through the mate of the receiver's place.
TEST(TwoPhase, BytesArriveWhereTheyAreFor) {
  const auto bytes = [](RankId from, RankId to) { return 100 * (from.value() + 1) + to.value(); };
  for (const EqualNodes& nodes :
       {EqualNodes{1, 1}, EqualNodes{1, 4}, EqualNodes{5, 1}, EqualNodes{3, 4}, EqualNodes{4, 3}}) {
    const Index ranks = nodes.num_nodes * nodes.node_ranks;
    std::map<RankId, Index> received;  // for good, and what has yet to go on
    std::map<RankId, Index> sent;
    std::set<std::pair<Index, RankId>> sending;
    for (const Step& step : two_phase_schedule(nodes, bytes)) {
      received[step.to] += step.bytes;
      sent[step.from] += step.bytes;
      EXPECT_TRUE(sending.emplace(step.phase, step.from).second) << "two messages at once";
      const bool is_near = step.from.value() / nodes.node_ranks == step.to.value() / nodes.node_ranks;
      EXPECT_EQ(step.level, step.from == step.to ? Level::self : is_near ? Level::node : Level::network);
      if (step.level == Level::network) {
        EXPECT_EQ((step.to.value() - step.from.value()) % nodes.node_ranks, 0);
      }
    }
    EXPECT_EQ(std::ssize(sending), ranks * (nodes.node_ranks + nodes.num_nodes - 1));
    for (RankId rank; rank < RankId{ranks}; ++rank) {
      Index all_for = 0;
      Index all_from = 0;
      for (RankId other; other < RankId{ranks}; ++other) {
        all_for += bytes(other, rank);
        all_from += bytes(rank, other);
      }
      EXPECT_EQ(received[rank] - sent[rank], all_for - all_from) << "of rank " << rank.value();
    }
  }
}

TEST(TwoPhase, EmptyMessagesAreLeftOut) {
  const auto bytes = [](RankId from, RankId to) { return from == RankId{1} && to == RankId{4} ? Index{7} : Index{0}; };
  const std::vector<Step> steps = two_phase_schedule({3, 4}, bytes);
  // Through rank 0, the mate of rank 4's place: in the third round of the first phase, the first of the second.
  const std::vector<Step> expected{{3, RankId{1}, RankId{0}, 7, Level::node},
                                   {4, RankId{0}, RankId{4}, 7, Level::network}};
  EXPECT_EQ(steps, expected);
  EXPECT_THROW(static_cast<void>(mate_in_round({3, 4}, RankId{0}, 4)), InvariantError);
  EXPECT_THROW(static_cast<void>(partner_in_round({3, 4}, RankId{0}, 3)), InvariantError);
}

}  // namespace
}  // namespace conclave::plan
