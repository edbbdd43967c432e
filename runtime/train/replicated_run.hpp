// SPDX-License-Identifier: BSD-3-Clause
// A run of parameters that every rank has whole: what is reduced, updated and shared out as one. The model's own are
// several runs, so that the sums of the last layers travel while backward goes on to the first ones.
#pragma once

#include "comm/mpi/reproducible_reduce.hpp"
#include "comm/mpi/slice_gather.hpp"
#include "runtime/model/group_gradients.hpp"
#include "runtime/model/step.hpp"
#include "runtime/train/model_file.hpp"

namespace conclave::train {

/// Of a run, but for the last one.
inline constexpr Index fewest_run_elements = 64 * plan::ReducePlan::block_elements;

/// Cuts a list's flat array at borders of tensors into runs of at least 1 MiB of float32, as far as it goes: long
/// enough that a message's start costs little. The same on any number of ranks.
[[nodiscard]] std::vector<Range> cut_into_runs(const ParameterList& list);

/// One pass is: cover, as backward goes on, then finish, on every rank. The gradients of several passes add up.
class ReplicatedRun {
 public:
  /// The elements `run` of whole, whose gradient is a sum of num_terms over all ranks, in the order of the reduction's
  /// tree; `gradients` has this rank's part of it. All that is referred to must outlive the object. Collective.
  ReplicatedRun(const ReplicatedValues& whole, Range run, Index num_terms, model::GroupGradients<float>& gradients,
                const model::Ranks& ranks);
  ReplicatedRun(const ReplicatedRun&) = delete;
  ReplicatedRun& operator=(const ReplicatedRun&) = delete;
  ~ReplicatedRun() = default;

  [[nodiscard]] const ReplicatedValues& whole() const { return whole_; }
  [[nodiscard]] const plan::ReducePlan& plan() const { return plan_; }
  /// The part that this rank owns, of the whole flat array.
  [[nodiscard]] Range slice() const;
  [[nodiscard]] std::span<float> slice_values() const;
  [[nodiscard]] std::span<float> slice_gradient() { return slice_gradient_.flat(); }
  [[nodiscard]] std::span<const float> slice_gradient() const { return slice_gradient_.flat(); }

  /// Takes note that the pass has the sums of these parameters of the whole array. With the last of the run's they
  /// start on their way.
  void cover(Range parameters);
  /// Whether sums are still on their way; makes progress on them.
  [[nodiscard]] bool is_waiting();
  /// Adds what the pass has come to over all ranks to the slice's gradient. What was not covered is zero. What it waits
  /// for the sums is Phase::wait of `times`, what they travelled before is added as hidden.
  void finish(PhaseTimes& times);
  /// Makes the values whole on every rank, of which each has brought its slice up to date. Collective.
  void share_values();

 private:
  void start();

  ReplicatedValues whole_;
  Range run_;
  model::GroupGradients<float>& gradients_;
  model::Ranks ranks_;
  plan::ReducePlan plan_;
  comm::ReduceScatter<float> reduce_;
  comm::SliceGather<float> gather_;
  Matrix<float> slice_gradient_;  // [1, slice]
  Index num_missing_;             // parameters of the run that the pass has no sums of yet
  bool is_under_way_ = false;
  bool has_arrived_ = false;  // what is under way
};

}  // namespace conclave::train
