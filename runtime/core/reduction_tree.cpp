// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/reduction_tree.hpp"

#include "runtime/core/error.hpp"

#include <algorithm>
#include <bit>

namespace conclave {

// It depends on the node's size alone, so that a subtree is built like a tree of its own; and left children begin at
// multiples of their size, which is a power of two.
Index middle(Range node) {
  return node.begin + static_cast<Index>(std::bit_floor(static_cast<std::uint64_t>(node.size() - 1)));
}

namespace {

// The largest complete subtree that begins with the run's first group and ends within the run. A tree's nodes are the
// runs of 2^k groups that begin at multiples of 2^k, cut off at its end.
Range first_subtree(Index num_groups, Range run) {
  const Index aligned = run.begin == 0 ? num_groups : run.begin & -run.begin;
  if (run.end == num_groups && run.size() <= aligned) return run;
  const auto size = static_cast<Index>(std::bit_floor(static_cast<std::uint64_t>(std::min(aligned, run.size()))));
  return {run.begin, run.begin + size};
}

// Appends the additions that make the node's sum from those of `pieces`, which begin with the node's first; returns the
// pieces that are left. Children come before their parent, left before right.
std::span<const Range> append_merges(Range node, std::span<const Range> pieces, std::vector<Merge>& merges) {
  invariant(!pieces.empty() && pieces.front().begin == node.begin && pieces.front().end <= node.end &&
                !pieces.front().empty(),
            "the groups [{}, {}) are not made up of complete subtrees", node.begin, node.end);
  if (pieces.front() == node) return pieces.subspan(1);
  const Index cut = middle(node);
  pieces = append_merges({node.begin, cut}, pieces, merges);
  pieces = append_merges({cut, node.end}, pieces, merges);
  merges.push_back({node.begin, cut, node.end});
  return pieces;
}

}  // namespace

std::vector<Range> complete_subtrees(Index num_groups, Range run) {
  invariant(0 <= run.begin && run.begin <= run.end && run.end <= num_groups, "groups [{}, {}) of {}", run.begin,
            run.end, num_groups);
  std::vector<Range> subtrees;
  while (!run.empty()) {
    subtrees.push_back(first_subtree(num_groups, run));
    run.begin = subtrees.back().end;
  }
  return subtrees;
}

std::vector<Merge> merges_within(Range subtree) {
  invariant(subtree.begin <= subtree.end, "groups [{}, {})", subtree.begin, subtree.end);
  std::vector<Range> groups;
  for (Index group = subtree.begin; group < subtree.end; ++group) groups.push_back({group, group + 1});
  std::vector<Merge> merges;
  if (!subtree.empty()) append_merges(subtree, groups, merges);
  return merges;
}

std::vector<Merge> finishing_merges(Index num_groups, std::span<const Range> pieces) {
  invariant(num_groups >= 0, "{} groups", num_groups);
  std::vector<Merge> merges;
  if (num_groups > 0) pieces = append_merges({0, num_groups}, pieces, merges);
  invariant(pieces.empty(), "{} subtrees beyond the last of {} groups", pieces.size(), num_groups);
  return merges;
}

double tree_sum(std::span<const double> values) {
  if (values.empty()) return 0.0;
  if (values.size() == 1) return values.front();
  const auto cut = static_cast<std::size_t>(middle({0, static_cast<Index>(values.size())}));
  return tree_sum(values.first(cut)) + tree_sum(values.subspan(cut));
}

}  // namespace conclave
