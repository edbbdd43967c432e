// SPDX-License-Identifier: BSD-3-Clause
// Gradients of the replicated parameters, summed over groups in the one fixed order.
#pragma once

#include "comm/plan/reduce_plan.hpp"
#include "runtime/core/parameters.hpp"

#include <functional>
#include <vector>

namespace conclave::model {

/// One rank's partial sums of a step's gradient of the replicated parameters. Every group's gradient is a leaf of the
/// tree of comm/plan/reduction_tree.hpp; a rank keeps one flat array for each complete subtree of its run of groups:
/// at most 2 log2(groups) x parameters x sizeof(T) bytes, and one where the run is a subtree.
template <class T>
class GroupGradients {
 public:
  /// The plan and rank must outlive the object's use by reduce_scatter; a rank without groups has no partial sums.
  GroupGradients(const plan::ReducePlan& plan, RankId rank);

  /// Calls body(i, leaf) for this rank's i-th group, in parallel: the body adds that group's gradient of `parameters`
  /// to `leaf`, which is zero before. The leaves are then summed. Each parameter may be covered once in a step: adding
  /// a second sum to it would make the order of additions depend on the number of ranks.
  void add(Range parameters, const std::function<void(Index group, ParameterView<T> leaf)>& body);

  /// Forgets the sums; to be called between steps.
  void clear();

  /// One flat array a piece, in the order of plan.pieces_of(rank).
  [[nodiscard]] std::vector<std::span<const T>> partial_sums() const;

 private:
  void cover(Range parameters);

  Index num_parameters_;
  Range run_;                        // this rank's groups
  std::vector<Range> pieces_;        // complete subtrees of run_
  std::vector<plan::Merge> merges_;  // the additions within the pieces, in order
  std::vector<Matrix<T>> sums_;      // [pieces][1, parameters], zero where not covered
  std::vector<Range> covered_;       // parameters that have been added since clear()
  std::vector<Matrix<T>> buffers_;  // leaves and sums on their way: at most threads + log2(groups) of the largest range
};

}  // namespace conclave::model
