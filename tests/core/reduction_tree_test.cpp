// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/reduction_tree.hpp"

#include "runtime/core/error.hpp"
#include "runtime/core/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

namespace conclave {
namespace {

constexpr Index most_groups = 40;

/// One value a group whose float sum depends on the order: signs and magnitudes vary.
template <class T>
std::vector<T> random_values(Index num_groups, Index draw) {
  const Random random(17, RandomStream::data_order);
  std::vector<T> values;
  for (Index g = 0; g < num_groups; ++g) {
    values.push_back(static_cast<T>(random.normal(g, draw) * std::exp2(random.uniform(g, draw + 1000) * 12.0)));
  }
  return values;
}

/// The definition, written down as it stands in the header. Also collects all nodes.
template <class T>
T sum_by_definition(const std::vector<T>& values, Range node, std::vector<Range>* nodes = nullptr) {
  if (nodes != nullptr) nodes->push_back(node);
  if (node.size() == 1) return values[static_cast<std::size_t>(node.begin)];
  Index half = 1;
  while (2 * half < node.size()) half *= 2;
  const T left = sum_by_definition(values, {node.begin, node.begin + half}, nodes);
  return left + sum_by_definition(values, {node.begin + half, node.end}, nodes);
}

template <class T>
void execute(const std::vector<Merge>& merges, std::vector<T>& sums) {
  for (const Merge& merge : merges) {
    sums[static_cast<std::size_t>(merge.left)] += sums[static_cast<std::size_t>(merge.right)];
  }
}

std::uint32_t bits(float value) { return std::bit_cast<std::uint32_t>(value); }
std::uint64_t bits(double value) { return std::bit_cast<std::uint64_t>(value); }

/// The complete subtrees of all ranks' runs, rank by rank.
std::vector<Range> pieces_of_all(Index num_groups, Index num_ranks) {
  std::vector<Range> pieces;
  for (Index rank = 0; rank < num_ranks; ++rank) {
    const auto own = complete_subtrees(num_groups, even_share(num_groups, num_ranks, rank));
    pieces.insert(pieces.end(), own.begin(), own.end());
  }
  return pieces;
}

const std::vector<Index> rank_counts{1, 2, 3, 4, 5, 6, 7, 8, 41, 64};

TEST(ReductionTree, PiecesTileTheGroupsAndAreNodesOfTheOneTree) {
  for (Index num_groups = 0; num_groups <= most_groups; ++num_groups) {
    std::vector<Range> nodes;
    if (num_groups > 0) sum_by_definition(random_values<float>(num_groups, 0), {0, num_groups}, &nodes);
    for (const Index num_ranks : rank_counts) {
      Index next = 0;
      for (const Range& piece : pieces_of_all(num_groups, num_ranks)) {
        EXPECT_EQ(piece.begin, next);
        EXPECT_NE(std::find(nodes.begin(), nodes.end(), piece), nodes.end())
            << "[" << piece.begin << ", " << piece.end << ") of " << num_groups;
        next = piece.end;
      }
      EXPECT_EQ(next, num_groups);
    }
  }
}

TEST(ReductionTree, PiecesAreTheFewest) {
  Index runs_of_several = 0;
  for (Index num_groups = 1; num_groups <= most_groups; ++num_groups) {
    std::vector<Range> nodes;
    sum_by_definition(random_values<float>(num_groups, 0), {0, num_groups}, &nodes);
    for (Index begin = 0; begin <= num_groups; ++begin) {
      for (Index end = begin; end <= num_groups; ++end) {
        // fewest[i]: the smallest number of nodes that tile [begin, i).
        std::vector<Index> fewest(static_cast<std::size_t>(num_groups) + 1, num_groups + 1);
        fewest[static_cast<std::size_t>(begin)] = 0;
        std::sort(nodes.begin(), nodes.end(), [](Range a, Range b) { return a.begin < b.begin; });
        for (const Range& node : nodes) {
          if (node.begin < begin || node.end > end) continue;
          Index& best = fewest[static_cast<std::size_t>(node.end)];
          best = std::min(best, fewest[static_cast<std::size_t>(node.begin)] + 1);
        }
        const auto pieces = complete_subtrees(num_groups, {begin, end});
        EXPECT_EQ(std::ssize(pieces), fewest[static_cast<std::size_t>(end)]);
        runs_of_several += pieces.size() > 1 ? 1 : 0;
      }
    }
  }
  EXPECT_GT(runs_of_several, 1000);
}

template <class T>
void expect_same_bits_on_any_number_of_ranks() {
  Index other_order_other_bits = 0;
  for (Index num_groups = 1; num_groups <= most_groups; ++num_groups) {
    const std::vector<T> values = random_values<T>(num_groups, num_groups);
    const T expected = sum_by_definition(values, {0, num_groups});
    const T left_to_right = std::accumulate(values.begin() + 1, values.end(), values.front());
    other_order_other_bits += bits(left_to_right) != bits(expected) ? 1 : 0;
    for (const Index num_ranks : rank_counts) {
      const auto pieces = pieces_of_all(num_groups, num_ranks);
      std::vector<T> sums = values;
      for (const Range& piece : pieces) execute(merges_within(piece), sums);
      execute(finishing_merges(num_groups, pieces), sums);
      EXPECT_EQ(bits(sums.front()), bits(expected)) << num_groups << " groups on " << num_ranks << " ranks";
    }
  }
  EXPECT_GT(other_order_other_bits, 10) << "the values' sum does not depend on the order: the test tests nothing";
}

TEST(ReductionTree, FloatSumsHaveTheSameBitsOnAnyNumberOfRanks) { expect_same_bits_on_any_number_of_ranks<float>(); }
TEST(ReductionTree, DoubleSumsHaveTheSameBitsOnAnyNumberOfRanks) { expect_same_bits_on_any_number_of_ranks<double>(); }

TEST(ReductionTree, MergesComeAsSoonAsTheirLastGroupIsThere) {
  for (Index num_groups = 0; num_groups <= most_groups; ++num_groups) {
    for (const Range& piece : pieces_of_all(num_groups, 3)) {
      const auto merges = merges_within(piece);
      EXPECT_EQ(std::ssize(merges), piece.size() - 1);
      EXPECT_TRUE(std::is_sorted(merges.begin(), merges.end(), [](auto& a, auto& b) { return a.end < b.end; }));
      for (const Merge& merge : merges) {
        EXPECT_TRUE(piece.begin <= merge.left && merge.left < merge.right && merge.right < merge.end &&
                    merge.end <= piece.end);
      }
    }
  }
}

TEST(ReductionTree, OnePieceNeedsNoFinish) {
  for (Index num_groups = 1; num_groups <= most_groups; ++num_groups) {
    const std::vector<Range> whole{{0, num_groups}};
    EXPECT_EQ(complete_subtrees(num_groups, {0, num_groups}), whole);
    EXPECT_TRUE(finishing_merges(num_groups, whole).empty());
  }
}

TEST(ReductionTree, NoGroupsHaveNoPiecesAndNoMerges) {
  EXPECT_TRUE(complete_subtrees(0, {0, 0}).empty());
  EXPECT_TRUE(complete_subtrees(5, {3, 3}).empty());
  EXPECT_TRUE(merges_within({2, 2}).empty());
  EXPECT_TRUE(finishing_merges(0, {}).empty());
  EXPECT_EQ(tree_sum({}), 0.0);
}

TEST(ReductionTree, TreeSumIsTheMergesSum) {
  for (Index num_groups = 1; num_groups <= most_groups; ++num_groups) {
    const std::vector<double> values = random_values<double>(num_groups, num_groups + 100);
    std::vector<double> sums = values;
    execute(merges_within({0, num_groups}), sums);
    EXPECT_EQ(bits(tree_sum(values)), bits(sums.front()));
    EXPECT_EQ(bits(tree_sum(values)), bits(sum_by_definition(values, {0, num_groups})));
  }
}

TEST(ReductionTree, RefusesWhatIsNotMadeOfSubtrees) {
  const auto finish = [](Index num_groups, std::vector<Range> pieces) {
    static_cast<void>(finishing_merges(num_groups, pieces));
  };
  EXPECT_NO_THROW(finish(4, {{0, 2}, {2, 4}}));
  EXPECT_THROW(finish(4, {{0, 1}, {1, 3}, {3, 4}}), InvariantError);  // [1, 3) is no node
  EXPECT_THROW(finish(4, {{0, 2}}), InvariantError);                  // a hole at the end
  EXPECT_THROW(finish(4, {{0, 2}, {3, 4}}), InvariantError);          // a hole in the middle
  EXPECT_THROW(finish(4, {{0, 4}, {4, 5}}), InvariantError);          // one too many
  EXPECT_THROW(finish(2, {{0, 4}}), InvariantError);
  EXPECT_THROW(finish(2, {{0, 0}, {0, 2}}), InvariantError);
  EXPECT_THROW(finish(0, {{0, 1}}), InvariantError);
  EXPECT_THROW(static_cast<void>(complete_subtrees(4, {3, 5})), InvariantError);
}

}  // namespace
}  // namespace conclave
