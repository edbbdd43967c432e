// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/group_gradients.hpp"

#include "runtime/core/parallel.hpp"
#include "tests/support/gradient_check.hpp"

#include <gtest/gtest.h>

#include <map>

namespace conclave::model {
namespace {

using test::random_values;
using Leaves = std::vector<std::vector<float>>;  // [groups][parameters]

// Three blocks, the last one short.
constexpr Index num_parameters = 2 * plan::ReducePlan::block_elements + 37;

// Terms of very different sizes: in another order their sums have other bits.
Leaves make_leaves(Index num_groups) {
  Leaves leaves;
  for (Index group = 0; group < num_groups; ++group) {
    leaves.push_back(random_values<float>(num_parameters, group, group % 3 == 0 ? 1.0 : 1e-3));
  }
  return leaves;
}

// The definition: over [begin, end), the sum of the first largest power of two below its length, plus the rest's.
std::vector<float> tree(const Leaves& leaves, Index begin, Index end) {
  if (end - begin == 1) return leaves[static_cast<std::size_t>(begin)];
  Index half = 1;
  while (2 * half < end - begin) half *= 2;
  std::vector<float> sum = tree(leaves, begin, begin + half);
  const std::vector<float> right = tree(leaves, begin + half, end);
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += right[i];
  return sum;
}

void add_leaves(GroupGradients<float>& gradients, const Leaves& leaves, Range run, Range parameters) {
  gradients.add(parameters, [&](Index group, ParameterView<float> leaf) {
    ASSERT_EQ(leaf.range(), parameters);
    const std::vector<float>& values = leaves[static_cast<std::size_t>(run.begin + group)];
    const std::span<float> place = leaf.vector(Tensor{parameters.begin, 1, parameters.size()});
    for (std::size_t i = 0; i < place.size(); ++i) place[i] += values[static_cast<std::size_t>(parameters.begin) + i];
  });
}

// What all ranks' partial sums come to, finished as the reduce-scatter does, over all parameters at once.
std::vector<float> reduced(const Leaves& leaves, Index num_ranks, Index num_steps = 1) {
  const plan::ReducePlan plan(num_parameters, static_cast<Index>(leaves.size()), num_ranks);
  std::map<Index, std::vector<float>> sums;  // by first group
  for (Index r = 0; r < num_ranks; ++r) {
    GroupGradients<float> gradients(plan, RankId{r});
    for (Index step = 0; step < num_steps; ++step) {
      gradients.clear();
      // In three parts and out of order, as a model's backward does.
      for (const Range part : {Range{5000, num_parameters}, Range{0, 11}, Range{11, 5000}}) {
        add_leaves(gradients, leaves, plan.groups_of(RankId{r}), part);
      }
    }
    const auto partial = gradients.partial_sums();
    const auto& pieces = plan.pieces_of(RankId{r});
    EXPECT_EQ(partial.size(), pieces.size());
    for (std::size_t p = 0; p < pieces.size(); ++p) sums[pieces[p].begin] = {partial[p].begin(), partial[p].end()};
  }
  for (const Merge& merge : plan.finish()) {
    for (std::size_t i = 0; i < sums[merge.left].size(); ++i) sums[merge.left][i] += sums[merge.right][i];
  }
  return sums[0];
}

class GroupGradientsTest : public testing::TestWithParam<Index> {
 protected:
  void TearDown() override { use_threads(1); }
};
INSTANTIATE_TEST_SUITE_P(Groups, GroupGradientsTest, testing::Values(1, 2, 3, 5, 8, 13),
                         testing::PrintToStringParamName());

TEST_P(GroupGradientsTest, BitsDependNeitherOnRanksNorOnThreads) {
  const Leaves leaves = make_leaves(GetParam());
  const std::vector<float> expected = tree(leaves, 0, GetParam());
  if (GetParam() > 2) {  // the order matters: the plain running sum differs
    std::vector<float> running = leaves[0];
    std::size_t different = 0;
    for (std::size_t g = 1; g < leaves.size(); ++g) {
      for (std::size_t i = 0; i < running.size(); ++i) running[i] += leaves[g][i];
    }
    for (std::size_t i = 0; i < running.size(); ++i) different += running[i] != expected[i] ? 1 : 0;
    EXPECT_EQ(different == 0, GetParam() == 3);  // three groups: the tree is the running sum
  }
  for (Index threads = 1; threads <= 4; ++threads) {
    use_threads(threads);
    for (Index ranks = 1; ranks <= 6; ++ranks) {
      EXPECT_TRUE(test::same_bits<float>(reduced(leaves, ranks), expected)) << ranks << " ranks, " << threads;
    }
  }
}

TEST_P(GroupGradientsTest, ClearForgetsThePreviousStep) {
  const Leaves leaves = make_leaves(GetParam());
  use_threads(2);
  EXPECT_TRUE(test::same_bits<float>(reduced(leaves, 2, 3), tree(leaves, 0, GetParam())));
}

TEST_P(GroupGradientsTest, WhatIsNotCoveredIsZero) {
  const Leaves leaves = make_leaves(GetParam());
  const plan::ReducePlan plan(num_parameters, GetParam(), 1);
  GroupGradients<float> gradients(plan, RankId{0});
  add_leaves(gradients, leaves, {0, GetParam()}, {0, num_parameters});
  gradients.clear();
  add_leaves(gradients, leaves, {0, GetParam()}, {100, 200});
  ASSERT_EQ(gradients.partial_sums().size(), 1U);
  const std::span<const float> sum = gradients.partial_sums()[0];
  for (Index i = 0; i < num_parameters; ++i) {
    EXPECT_EQ(sum[static_cast<std::size_t>(i)] != 0.0F, Range({100, 200}).contains(i)) << i;
  }
}

TEST_P(GroupGradientsTest, SumsOfSomeParametersAreTheirPartOfAll) {
  const Leaves leaves = make_leaves(GetParam());
  const plan::ReducePlan plan(num_parameters, GetParam(), 1);
  GroupGradients<float> gradients(plan, RankId{0});
  add_leaves(gradients, leaves, {0, GetParam()}, {0, num_parameters});
  gradients.clear();
  add_leaves(gradients, leaves, {0, GetParam()}, {100, 200});
  const std::vector<float> expected = tree(leaves, 0, GetParam());
  const std::span<const float> sum = gradients.partial_sums({150, 300})[0];
  ASSERT_EQ(sum.size(), 150U);
  for (std::size_t i = 0; i < sum.size(); ++i) EXPECT_EQ(sum[i], i < 50 ? expected[150 + i] : 0.0F) << i;
  EXPECT_EQ(gradients.partial_sums({0, num_parameters})[0][100], expected[100]);
}

TEST(GroupGradients, TellsOfEverySumOnARankWithoutGroupsToo) {
  const plan::ReducePlan plan(num_parameters, 2, 3);
  for (const Index rank : {0, 2}) {
    GroupGradients<float> gradients(plan, RankId{rank});
    std::vector<Range> told;
    Index calls = 0;
    gradients.when_summed([&](Range parameters) {
      told.push_back(parameters);
      EXPECT_EQ(calls, rank == 0 ? std::ssize(told) : 0);  // after the leaves
    });
    for (const Range parameters : {Range{50, 60}, Range{0, 50}}) {
      gradients.add(parameters, [&](Index, ParameterView<float>) { ++calls; });
    }
    EXPECT_EQ(told, (std::vector<Range>{{50, 60}, {0, 50}}));
  }
}

TEST(GroupGradients, RefusesASecondSumForAParameter) {
  const plan::ReducePlan plan(num_parameters, 3, 5);
  for (const Index rank : {0, 4}) {  // rank 4 has no groups and sees the mistake too
    GroupGradients<double> gradients(plan, RankId{rank});
    const auto nothing = [](Index, ParameterView<double>) {};
    gradients.add({10, 20}, nothing);
    gradients.add({20, 30}, nothing);
    EXPECT_THROW(gradients.add({29, 31}, nothing), InvariantError);
    EXPECT_THROW(gradients.add({0, num_parameters}, nothing), InvariantError);
    EXPECT_THROW(gradients.add({num_parameters, num_parameters + 1}, nothing), InvariantError);
    EXPECT_THROW(gradients.add({-1, 0}, nothing), InvariantError);
    gradients.clear();
    EXPECT_NO_THROW(gradients.add({0, num_parameters}, nothing));
  }
}

TEST(GroupGradients, ARankWithoutGroupsHasNoSums) {
  const plan::ReducePlan plan(num_parameters, 2, 3);
  GroupGradients<float> gradients(plan, RankId{2});
  Index calls = 0;
  gradients.add({0, num_parameters}, [&](Index, ParameterView<float>) { ++calls; });
  gradients.clear();
  EXPECT_EQ(calls, 0);
  EXPECT_TRUE(gradients.partial_sums().empty());
}

TEST(GroupGradients, ABodysErrorComesOut) {
  const plan::ReducePlan plan(num_parameters, 4, 1);
  GroupGradients<float> gradients(plan, RankId{0});
  EXPECT_THROW(gradients.add({0, 5}, [](Index group, ParameterView<float>) { invariant(group != 2, "group 2"); }),
               InvariantError);
}

}  // namespace
}  // namespace conclave::model
