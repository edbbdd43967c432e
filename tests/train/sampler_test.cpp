// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/sampler.hpp"

#include "runtime/core/error.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <vector>

namespace conclave::train {
namespace {

std::vector<Index> epoch_of(const Sampler& sampler, Index size, Index epoch) {
  std::vector<Index> items;
  for (Index place = 0; place < size; ++place) {
    const auto draw = sampler.draw(epoch * size + place);
    EXPECT_EQ(draw.epoch, epoch);
    items.push_back(draw.item);
  }
  return items;
}

void expect_permutation(const std::vector<Index>& items) {
  std::vector<bool> seen(items.size(), false);
  for (const Index item : items) {
    ASSERT_GE(item, 0);
    ASSERT_LT(item, static_cast<Index>(items.size()));
    ASSERT_FALSE(seen[item]) << "twice: " << item << " of " << items.size();
    seen[item] = true;
  }
}

TEST(Sampler, EveryEpochIsAPermutation) {
  std::vector<Index> sizes(300);
  std::iota(sizes.begin(), sizes.end(), Index{1});
  for (const Index size : {1009, 4096, 4097, 65537, 99991}) sizes.push_back(size);
  for (const Index size : sizes) {
    const Sampler sampler(size, 5);
    expect_permutation(epoch_of(sampler, size, 0));
    expect_permutation(epoch_of(sampler, size, 3));
  }
}

TEST(Sampler, OneItemIsDrawnForEver) {
  const Sampler sampler(1, 0);
  EXPECT_EQ(sampler.draw(0), (Sampler::Draw{0, 0}));
  EXPECT_EQ(sampler.draw(77), (Sampler::Draw{77, 0}));
}

TEST(Sampler, EpochsAndSeedsDiffer) {
  const Index size = 500;
  const auto first = epoch_of(Sampler(size, 1), size, 0);
  const auto next = epoch_of(Sampler(size, 1), size, 1);
  const auto other = epoch_of(Sampler(size, 2), size, 0);
  std::vector<Index> in_order(size);
  std::iota(in_order.begin(), in_order.end(), Index{0});
  // Two unrelated permutations agree at one place in the mean.
  const auto agreements = [&](const std::vector<Index>& a, const std::vector<Index>& b) {
    return std::inner_product(a.begin(), a.end(), b.begin(), 0, std::plus<>{}, std::equal_to<>{});
  };
  EXPECT_LT(agreements(first, next), 10);
  EXPECT_LT(agreements(first, other), 10);
  EXPECT_LT(agreements(first, in_order), 10);
  EXPECT_EQ(first, epoch_of(Sampler(size, 1), size, 0));
}

// Over many epochs every item comes to every place, and every item follows every other, equally often.
TEST(Sampler, PlacesAndNeighboursAreUniform) {
  for (const Index size : {2, 3, 7, 12}) {
    const Index num_epochs = 6000;
    std::vector<double> places(size * size, 0.0);
    std::vector<double> neighbours(size * size, 0.0);
    const Sampler sampler(size, 9);
    for (Index epoch = 0; epoch < num_epochs; ++epoch) {
      const auto items = epoch_of(sampler, size, epoch);
      for (Index place = 0; place < size; ++place) places[place * size + items[place]] += 1;
      for (Index place = 1; place < size; ++place) neighbours[items[place - 1] * size + items[place]] += 1;
    }
    // A cell's count is binomial with mean num_epochs / size; five standard deviations.
    const double mean = static_cast<double>(num_epochs) / static_cast<double>(size);
    for (Index item = 0; item < size; ++item) {
      for (Index other = 0; other < size; ++other) {
        EXPECT_NEAR(places[item * size + other], mean, 5 * std::sqrt(mean)) << size;
        if (item == other) continue;
        EXPECT_NEAR(neighbours[item * size + other], mean, 5 * std::sqrt(mean)) << size;
      }
    }
  }
}

TEST(Sampler, AllOrdersOfThreeItemsAreEquallyLikely) {
  std::map<std::vector<Index>, double> orders;
  const Index num_epochs = 6000;
  const Sampler sampler(3, 4);
  for (Index epoch = 0; epoch < num_epochs; ++epoch) orders[epoch_of(sampler, 3, epoch)] += 1;
  ASSERT_EQ(orders.size(), 6U);
  for (const auto& [order, count] : orders) EXPECT_NEAR(count, 1000, 5 * std::sqrt(1000));
}

TEST(Sampler, LargeNumbersStayInRangeAndDistinct) {
  for (const Index size : {(Index{1} << 40) + 15, (Index{1} << 62) - 57, Index{3037000499} * 3037000499}) {
    std::set<Index> items;
    const Sampler sampler(size, 3);
    for (Index n = 0; n < 1000; ++n) {
      const auto draw = sampler.draw(n);
      EXPECT_EQ(draw.epoch, 0);
      ASSERT_GE(draw.item, 0);
      ASSERT_LT(draw.item, size);
      items.insert(draw.item);
    }
    EXPECT_EQ(items.size(), 1000U);
    EXPECT_GT(*items.rbegin(), size / 2);
    EXPECT_LT(*items.begin(), size / 2);
  }
}

TEST(Sampler, RefusesWhatIsNotThere) {
  EXPECT_THROW(Sampler(0, 0), InvariantError);
  EXPECT_THROW((void)Sampler(3, 0).draw(-1), InvariantError);
  EXPECT_THROW(Permutation(0, Random(0, RandomStream::data_order)), InvariantError);
  const Permutation five(5, Random(0, RandomStream::data_order));
  EXPECT_THROW((void)five(5), InvariantError);
  EXPECT_THROW((void)five(-1), InvariantError);
}

}  // namespace
}  // namespace conclave::train
