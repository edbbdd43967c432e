// SPDX-License-Identifier: BSD-3-Clause
// Gradients of the replicated parameters, summed over groups in the one fixed order.
#pragma once

#include "comm/plan/reduce_plan.hpp"
#include "runtime/core/function_ref.hpp"
#include "runtime/core/parameters.hpp"

#include <functional>
#include <vector>

namespace conclave::model {

/// One rank's partial sums of a step's gradient of the replicated parameters. Every group's gradient is a leaf of the
/// tree of runtime/core/reduction_tree.hpp; a rank keeps one flat array for each complete subtree of its run of groups:
/// at most 2 log2(groups) x parameters x sizeof(T) bytes, and one where the run is a subtree.
template <class T>
class GroupGradients {
 public:
  /// The plan and rank must outlive the object's use by reduce_scatter; a rank without groups has no partial sums.
  GroupGradients(const plan::ReducePlan& plan, RankId rank);

  /// Calls body(i, leaf) for this rank's i-th group, in parallel: the body adds that group's gradient of `parameters`
  /// to `leaf`, which is zero before. The leaves are then summed, and the observer is told. Each parameter may be
  /// covered once in a step: adding a second sum to it would make the order of additions depend on the number of ranks.
  void add(Range parameters, FunctionRef<void(Index group, ParameterView<T> leaf)> body);

  /// Forgets the sums; to be called between steps.
  void clear() { covered_.clear(); }

  /// To be called after each add with its parameters, on every rank: also where there are no groups.
  void when_summed(std::function<void(Range parameters)> observer) { observer_ = std::move(observer); }

  /// To be called by the adding thread between groups: for what must not wait for the end of an add, such as progress
  /// of sums that are on their way.
  void while_adding(std::function<void()> progress) { progress_ = std::move(progress); }
  /// The same, for work of backward that adds nothing.
  void make_progress() const {
    if (progress_) progress_();
  }

  /// The sums of some parameters, or of all: one flat array a piece, in the order of plan.pieces_of(rank); zero for
  /// what was not added since clear(). Valid until the next call.
  [[nodiscard]] const std::vector<std::span<const T>>& partial_sums(Range parameters);
  [[nodiscard]] const std::vector<std::span<const T>>& partial_sums() { return partial_sums({0, num_parameters_}); }

 private:
  void cover(Range parameters);

  Index num_parameters_;
  Range run_;                    // this rank's groups
  std::vector<Range> pieces_;    // complete subtrees of run_
  std::vector<Merge> merges_;    // the additions within the pieces, in order
  std::vector<Matrix<T>> sums_;  // [pieces][1, parameters]
  std::vector<Range> covered_;   // parameters that have been added since clear(), ascending
  std::function<void(Range)> observer_;
  std::function<void()> progress_;
  std::vector<std::span<const T>> partial_sums_;
  std::vector<Matrix<T>> buffers_;  // leaves and sums on their way: at most threads + log2(groups) of the largest range
};

}  // namespace conclave::model
