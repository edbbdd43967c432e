// SPDX-License-Identifier: BSD-3-Clause
// Placements by load, against all there are where these can be counted, and what must hold of every one.
#include "experts/placement.hpp"

#include "runtime/core/error.hpp"
#include "runtime/core/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

namespace conclave::experts {
namespace {

double most_loaded(const Placement& placement, std::span<const double> loads) {
  return std::ranges::max(rank_loads(placement, loads));
}

/// Loads as skewed routing has them: few experts that are asked much.
std::vector<double> drawn_loads(Index experts, Index draw) {
  const Random random(7, RandomStream::random, draw);
  std::vector<double> loads;
  for (Index e = 0; e < experts; ++e) loads.push_back(std::floor(1000.0 / (1.0 + 20.0 * random.uniform(e, 0))));
  return loads;
}

/// The least that the most loaded rank can have to do, over every way of giving `copies` of each expert to ranks.
double least_possible(std::span<const double> loads, const std::vector<Index>& copies, Index num_ranks, Index slots) {
  double best = std::accumulate(loads.begin(), loads.end(), 0.0);
  Placement placement{std::vector<std::vector<RankId>>(loads.size()), num_ranks};
  std::vector<Index> hosted(static_cast<std::size_t>(num_ranks));
  const std::function<void(std::size_t, Index)> next = [&](std::size_t e, Index from) {
    if (e == loads.size()) {
      best = std::min(best, most_loaded(placement, loads));
      return;
    }
    if (std::ssize(placement.hosts[e]) == copies[e]) return next(e + 1, 0);
    for (Index rank = from; rank < num_ranks; ++rank) {
      if (hosted[static_cast<std::size_t>(rank)] == slots) continue;
      ++hosted[static_cast<std::size_t>(rank)];
      placement.hosts[e].emplace_back(rank);
      next(e, rank + 1);
      placement.hosts[e].pop_back();
      --hosted[static_cast<std::size_t>(rank)];
    }
  };
  next(0, 0);
  return best;
}

void expect_sound(const Placement& placement, Index experts, Index num_ranks, Index slots, Index replicas) {
  ASSERT_EQ(placement.num_experts(), experts);
  EXPECT_EQ(placement.num_ranks, num_ranks);
  EXPECT_LE(placement.most_hosted(), slots);
  EXPECT_LE(placement.num_replicas(), replicas);
  for (const auto& hosts : placement.hosts) {
    ASSERT_FALSE(hosts.empty());
    EXPECT_TRUE(std::ranges::adjacent_find(hosts, std::greater_equal{}) == hosts.end()) << "ascending, each once";
  }
}

TEST(Placement, IsNearTheBestOfAllWhereThoseCanBeCounted) {
  double sum_of_ratios = 0.0;
  constexpr Index draws = 60;
  for (Index draw = 0; draw < draws; ++draw) {
    const Index experts = 4 + draw % 4;
    const Index ranks = 2 + draw % 3;
    const Index slots = (experts + ranks - 1) / ranks + draw % 2;
    const std::vector<double> loads = drawn_loads(experts, draw);
    const Placement placement = balanced_placement(loads, ranks, slots);
    expect_sound(placement, experts, ranks, slots, 0);
    const double best = least_possible(loads, std::vector<Index>(loads.size(), 1), ranks, slots);
    const double ratio = most_loaded(placement, loads) / best;
    EXPECT_GE(ratio, 1.0 - 1e-12) << draw;
    EXPECT_LE(ratio, 1.1) << draw;
    sum_of_ratios += ratio;
  }
  EXPECT_LE(sum_of_ratios / draws, 1.01);
}

TEST(Placement, WithReplicasIsNearTheBestOfAll) {
  for (Index draw = 0; draw < 30; ++draw) {
    const std::vector<double> loads = drawn_loads(4, draw);
    const Placement placement = replicated_placement(loads, 3, 2, 2);
    expect_sound(placement, 4, 3, 2, 2);
    double best = least_possible(loads, {1, 1, 1, 1}, 3, 2);
    for (Index first = 0; first < 4; ++first) {
      for (Index second = 0; second < 4; ++second) {
        std::vector<Index> copies{1, 1, 1, 1};
        ++copies[static_cast<std::size_t>(first)];
        best = std::min(best, least_possible(loads, copies, 3, 2));
        ++copies[static_cast<std::size_t>(second)];
        best = std::min(best, least_possible(loads, copies, 3, 2));
      }
    }
    EXPECT_LE(most_loaded(placement, loads) / best, 1.1) << draw;
  }
}

TEST(Placement, OfManyExpertsIsNeverWorseThanContiguousAndAlmostEven) {
  for (Index draw = 0; draw < 10; ++draw) {
    const std::vector<double> loads = drawn_loads(256, draw);
    const Placement contiguous = contiguous_placement(256, 24);
    const Placement placement = balanced_placement(loads, 24, 14);
    expect_sound(placement, 256, 24, 14, 0);
    EXPECT_LE(most_loaded(placement, loads), most_loaded(contiguous, loads));
    const double mean = std::accumulate(loads.begin(), loads.end(), 0.0) / 24.0;
    const double unavoidable = std::max(mean, std::ranges::max(loads));
    EXPECT_LE(most_loaded(placement, loads), 1.02 * unavoidable) << draw;
  }
}

TEST(Placement, ReplicatesTheExpertThatNoSingleRankCanServe) {
  const std::vector<double> loads{900.0, 100.0, 100.0, 100.0};
  EXPECT_DOUBLE_EQ(most_loaded(balanced_placement(loads, 4, 2), loads), 900.0);
  const Placement placement = replicated_placement(loads, 4, 2, 3);
  EXPECT_EQ(placement.hosts[0].size(), 4U);
  EXPECT_DOUBLE_EQ(most_loaded(placement, loads), 325.0);
  EXPECT_EQ(placement.map().hosts(ExpertId{0}), placement.hosts[0]);
  EXPECT_EQ(placement.map().replicated(), std::vector{ExpertId{0}});
}

TEST(Placement, MakesNoReplicaThatDoesNotHelp) {
  const std::vector<double> loads{5.0, 5.0, 5.0, 5.0};
  EXPECT_EQ(replicated_placement(loads, 4, 2, 4).num_replicas(), 0);
}

TEST(Placement, OfEmptyRanksAndNothingAsked) {
  const std::vector<double> none(3, 0.0);
  const Placement placement = balanced_placement(none, 5, 1);
  expect_sound(placement, 3, 5, 1, 0);
  EXPECT_DOUBLE_EQ(imbalance(rank_loads(placement, none)), 1.0);
  const std::vector<double> one{0.0, 8.0, 0.0};
  EXPECT_DOUBLE_EQ(imbalance(rank_loads(contiguous_placement(3, 4), one)), 4.0);
}

TEST(Placement, RefusesTooFewSlotsAndLoadsThatAreNone) {
  const std::vector<double> loads{1.0, 2.0, 3.0};
  try {
    static_cast<void>(balanced_placement(loads, 2, 1));
    FAIL();
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(), "3 experts on 2 ranks of 1 slots");
    EXPECT_EQ(error.hint(), "give each rank at least 2");
  }
  EXPECT_THROW(static_cast<void>(balanced_placement(std::vector<double>{-1.0}, 1, 1)), InvariantError);
}

TEST(Placement, WithoutReplicasIsAMap) {
  const std::vector<double> loads{3.0, 1.0, 2.0, 2.0};
  const ExpertMap map = balanced_placement(loads, 2, 2).map();
  EXPECT_EQ(map.num_experts(), 4);
  EXPECT_EQ(map.owner(ExpertId{0}), map.owner(ExpertId{1}));
  EXPECT_EQ(map.owner(ExpertId{2}), map.owner(ExpertId{3}));
}

TEST(HostShares, AreThoseOfSegments) {
  const auto rows_of = [](double rows, Index hosts) {
    std::vector<double> all;
    for (const HostShare& share : host_shares(rows, hosts)) all.push_back(share.rows);
    return all;
  };
  EXPECT_EQ(rows_of(700.0, 3), (std::vector<double>{700.0, 0.0, 0.0}));
  EXPECT_EQ(rows_of(3072.0, 2), (std::vector<double>{1536.0, 1536.0}));
  EXPECT_EQ(rows_of(3072.0, 3), (std::vector<double>{1536.0, 768.0, 768.0}));
  EXPECT_EQ(rows_of(0.0, 2), (std::vector<double>{0.0, 0.0}));
  EXPECT_EQ(host_shares(3072.0, 2)[1].sums, 1) << "a half of four segments is one subtree";
  EXPECT_EQ(host_shares(100.0, 2)[1].sums, 0);
}

}  // namespace
}  // namespace conclave::experts
