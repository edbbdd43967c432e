// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/expert_map.hpp"

#include "runtime/core/error.hpp"

#include <gtest/gtest.h>

namespace conclave {
namespace {

// Every expert is owned by exactly one rank, ranks have theirs in ascending order, by_owner strings the owners
// together, and ranks and experts know the same of each other.
void expect_consistent(const ExpertMap& map) {
  std::vector<ExpertId> by_owner;
  Index num_hosts = 0;
  for (Index r = 0; r < map.num_ranks(); ++r) {
    ExpertId last{-1};
    std::vector<ExpertId> owned;
    const std::vector<HostedExpert> hosted = map.hosted_by(RankId{r});
    ASSERT_EQ(hosted.size(), map.experts_of(RankId{r}).size());
    for (std::size_t i = 0; i < hosted.size(); ++i) {
      const ExpertId expert = map.experts_of(RankId{r})[i];
      EXPECT_EQ(hosted[i].id, expert);
      EXPECT_EQ(hosted[i].num_hosts, std::ssize(map.hosts(expert)));
      EXPECT_EQ(map.hosts(expert).at(static_cast<std::size_t>(hosted[i].host)), RankId{r});
      EXPECT_EQ(hosted[i].is_home(), map.owner(expert) == RankId{r});
      EXPECT_LT(last, expert);
      last = expert;
      if (hosted[i].is_home()) owned.push_back(expert);
      ++num_hosts;
    }
    EXPECT_EQ(map.owned_by(RankId{r}), owned);
    by_owner.insert(by_owner.end(), owned.begin(), owned.end());
  }
  std::vector<ExpertId> replicated;
  for (ExpertId e; e < ExpertId{map.num_experts()}; ++e) {
    num_hosts -= std::ssize(map.hosts(e));
    if (map.hosts(e).size() > 1) replicated.push_back(e);
  }
  EXPECT_EQ(num_hosts, 0);
  EXPECT_EQ(map.replicated(), replicated);
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

TEST(ExpertMap, AnExpertMayHaveReplicas) {
  const auto map = ExpertMap::with_replicas(
      {{RankId{1}}, {RankId{0}, RankId{2}, RankId{4}}, {RankId{2}}, {RankId{1}, RankId{2}}}, 5);
  expect_consistent(map);
  EXPECT_EQ(map.replicated(), (std::vector{ExpertId{1}, ExpertId{3}}));
  EXPECT_EQ(map.experts_of(RankId{2}), (std::vector{ExpertId{1}, ExpertId{2}, ExpertId{3}}));
  EXPECT_EQ(map.owned_by(RankId{2}), std::vector{ExpertId{2}});
  EXPECT_EQ(map.hosted_by(RankId{4}), (std::vector{HostedExpert{ExpertId{1}, 2, 3}}));
  EXPECT_TRUE(map.owned_by(RankId{4}).empty()) << "a rank may host replicas alone";
  EXPECT_TRUE(map.experts_of(RankId{3}).empty());
}

TEST(ExpertMap, HostsThatAreNoneOrInNoOrderAreADefect) {
  EXPECT_THROW(static_cast<void>(ExpertMap::with_replicas({{RankId{0}}, {}}, 2)), InvariantError);
  EXPECT_THROW(static_cast<void>(ExpertMap::with_replicas({{RankId{1}, RankId{0}}}, 2)), InvariantError);
  EXPECT_THROW(static_cast<void>(ExpertMap::with_replicas({{RankId{1}, RankId{1}}}, 2)), InvariantError);
  EXPECT_THROW(static_cast<void>(ExpertMap::with_replicas({{RankId{0}, RankId{2}}}, 2)), InvariantError);
}

TEST(ExpertMap, AnOwnerOutsideTheRanksIsADefect) {
  EXPECT_THROW(ExpertMap({RankId{0}, RankId{2}}, 2), InvariantError);
  EXPECT_THROW(ExpertMap({RankId{-1}}, 2), InvariantError);
}

}  // namespace
}  // namespace conclave
