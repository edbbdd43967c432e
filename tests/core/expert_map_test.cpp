// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/expert_map.hpp"

#include "runtime/core/error.hpp"

#include <gtest/gtest.h>

namespace conclave {
namespace {

// Every expert is on exactly one rank, in ascending order there, and by_owner strings the ranks together.
void expect_consistent(const ExpertMap& map) {
  std::vector<ExpertId> by_owner;
  for (Index r = 0; r < map.num_ranks(); ++r) {
    ExpertId last{-1};
    for (const ExpertId expert : map.experts_of(RankId{r})) {
      EXPECT_EQ(map.owner(expert), RankId{r});
      EXPECT_LT(last, expert);
      last = expert;
      by_owner.push_back(expert);
    }
  }
  EXPECT_EQ(static_cast<Index>(by_owner.size()), map.num_experts());
  EXPECT_EQ(by_owner, map.by_owner());
}

TEST(ExpertMap, ContiguousSharesAreEven) {
  for (const Index experts : {0, 1, 2, 5, 8, 13}) {
    for (const Index ranks : {1, 2, 3, 4, 6, 16}) {
      const ExpertMap map = ExpertMap::contiguous(experts, ranks);
      EXPECT_EQ(map.num_experts(), experts);
      EXPECT_EQ(map.num_ranks(), ranks);
      expect_consistent(map);
      for (Index r = 0; r < ranks; ++r) {
        EXPECT_EQ(static_cast<Index>(map.experts_of(RankId{r}).size()), even_share(experts, ranks, r).size());
      }
      for (Index e = 0; e < experts; ++e) EXPECT_EQ(map.by_owner()[static_cast<std::size_t>(e)], ExpertId{e});
    }
  }
}

TEST(ExpertMap, AnyPlacementGoesAndARankMayHoldNothing) {
  const ExpertMap map({RankId{2}, RankId{0}, RankId{2}, RankId{3}, RankId{0}}, 5);
  expect_consistent(map);
  EXPECT_EQ(map.owner(ExpertId{3}), RankId{3});
  EXPECT_EQ(map.experts_of(RankId{0}), (std::vector{ExpertId{1}, ExpertId{4}}));
  EXPECT_TRUE(map.experts_of(RankId{1}).empty());
  EXPECT_TRUE(map.experts_of(RankId{4}).empty());
  EXPECT_EQ(map.by_owner(), (std::vector{ExpertId{1}, ExpertId{4}, ExpertId{0}, ExpertId{2}, ExpertId{3}}));
}

TEST(ExpertMap, AnOwnerOutsideTheRanksIsADefect) {
  EXPECT_THROW(ExpertMap({RankId{0}, RankId{2}}, 2), InvariantError);
  EXPECT_THROW(ExpertMap({RankId{-1}}, 2), InvariantError);
}

}  // namespace
}  // namespace conclave
