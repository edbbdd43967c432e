// SPDX-License-Identifier: BSD-3-Clause
// The one order in which sums across groups are taken: a fixed binary tree over the G groups of a step, whoever holds
// them. The sum over groups [a, b) is the sum over [a, m) plus the sum over [m, b), m = a + the largest power of two
// below b - a. Sums over the segments of an expert's rows are taken likewise: there a group is a segment.
#pragma once

#include "runtime/core/ids.hpp"

#include <span>
#include <vector>

namespace conclave {

/// One addition: the sum over [left, right) takes in the sum over [right, end). A sum is known by its first group.
struct Merge {
  Index left = 0;
  Index right = 0;
  Index end = 0;
  friend bool operator==(const Merge&, const Merge&) = default;
};

/// Where a node of two groups or more is cut: the m of above.
[[nodiscard]] Index middle(Range node);

/// The fewest complete subtrees of the tree over num_groups that make up the contiguous `run`, ascending. Empty for an
/// empty run.
[[nodiscard]] std::vector<Range> complete_subtrees(Index num_groups, Range run);

/// The additions that turn the single groups of `subtree` (one of complete_subtrees) into its sum, in an order in which
/// each can be done as soon as group `end - 1` is there.
[[nodiscard]] std::vector<Merge> merges_within(Range subtree);

/// The additions that turn the sums over `pieces` into the sum over all groups. `pieces` are complete subtrees that
/// tile [0, num_groups) in ascending order: the complete subtrees of all ranks' runs, rank by rank. InvariantError if
/// they do not.
[[nodiscard]] std::vector<Merge> finishing_merges(Index num_groups, std::span<const Range> pieces);

/// The tree's sum of one value a group, in float64.
[[nodiscard]] double tree_sum(std::span<const double> values);

}  // namespace conclave
