// SPDX-License-Identifier: BSD-3-Clause
#include "gating/replayed_capacity.hpp"

#include <gtest/gtest.h>

#include <random>

namespace conclave::gating {
namespace {

/// Claims of each group, and the trace's sums of them.
struct Recorded {
  RoutingSizes sizes;
  std::vector<std::vector<Index>> of_group;  // [groups][experts]
  RoutingStep step;
};

Recorded recorded(Index groups, Index classes) {
  Recorded r{{.layers = 1, .experts = 3, .groups = groups, .group_tokens = 8, .classes = classes}, {}, {}};
  r.step = {1, std::vector<Index>(static_cast<std::size_t>(r.sizes.counts())),
            std::vector<Index>(static_cast<std::size_t>(r.sizes.counts()))};
  std::mt19937_64 random(7);
  for (Index g = 0; g < groups; ++g) {
    std::vector<Index>& claims = r.of_group.emplace_back();
    for (Index e = 0; e < 3; ++e) {
      claims.push_back(static_cast<Index>(random() % (e == 0 ? 9 : 5)));
      r.step.claimed[static_cast<std::size_t>(r.sizes.place(0, source_class(r.sizes, GroupId{g}), e))] += claims.back();
    }
  }
  r.step.kept = r.step.claimed;
  return r;
}

// A plain loop over the groups, of which a trace knows only sums.
Index dropped_by_groups(const Recorded& r, Index slots) {
  Index sum = 0;
  for (const auto& claims : r.of_group) {
    for (const Index count : claims) sum += std::max<Index>(0, count - slots);
  }
  return sum;
}

Index replayed(const Recorded& r, Index slots, ClaimSpread spread, CapacityScope scope = CapacityScope::group) {
  return dropped(with_slots(r.sizes, r.step, slots, scope, spread));
}

TEST(ReplayedCapacity, IsExactWhereAClassIsAGroup) {
  const Recorded r = recorded(5, 5);
  ASSERT_GT(dropped_by_groups(r, 2), 0);
  for (Index slots = 1; slots <= 8; ++slots) {
    EXPECT_EQ(replayed(r, slots, ClaimSpread::even), dropped_by_groups(r, slots)) << slots;
    EXPECT_EQ(replayed(r, slots, ClaimSpread::packed), dropped_by_groups(r, slots)) << slots;
  }
}

TEST(ReplayedCapacity, EnclosesWhatGroupsDrop) {
  const Recorded r = recorded(13, 4);
  Index open = 0;
  for (Index slots = 1; slots <= 8; ++slots) {
    const Index least = replayed(r, slots, ClaimSpread::even);
    const Index most = replayed(r, slots, ClaimSpread::packed);
    EXPECT_LE(least, dropped_by_groups(r, slots)) << slots;
    EXPECT_GE(most, dropped_by_groups(r, slots)) << slots;
    open += most > least ? 1 : 0;
  }
  EXPECT_GT(open, 0);
  EXPECT_EQ(replayed(r, 8, ClaimSpread::packed), 0);
}

TEST(ReplayedCapacity, OverAStepCountsTheSumOfAllGroups) {
  const Recorded r = recorded(13, 4);
  for (const Index slots : {1, 10, 30, 1000}) {
    Index expected = 0;
    for (const Index claims : by_expert(r.sizes, r.step.claimed, 0)) expected += std::max<Index>(0, claims - slots);
    for (const ClaimSpread spread : {ClaimSpread::even, ClaimSpread::packed}) {
      EXPECT_EQ(replayed(r, slots, spread, CapacityScope::step), expected) << slots;
    }
  }
}

}  // namespace
}  // namespace conclave::gating
