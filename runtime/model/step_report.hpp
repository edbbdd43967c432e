// SPDX-License-Identifier: BSD-3-Clause
// What the passes of a step did, told to all ranks at once.
#pragma once

#include "runtime/model/loss.hpp"
#include "runtime/model/moe_statistics.hpp"

namespace conclave::model {

/// Every rank collects what its groups say, pass by pass; then two messages bring it together, however many passes and
/// layers there were: a sum of integers, and a gather of a few numbers a group, summed in the groups' tree. So what is
/// told has the same bits on any number of ranks. Buffers are kept from step to step.
template <class T>
class StepReport {
 public:
  /// What is referred to must outlive the report.
  StepReport(const comm::Communicator& communicator, std::vector<const MoeLayer<T>*> layers);

  /// Notes the losses of this rank's groups in a pass (none: they are not told) and what the last forward of each layer
  /// did. All ranks note the same passes, each its even share of the groups.
  void add_pass(const Step& step, std::span<const LossSums> losses);
  /// Tells all ranks about the passes since the last share. of_rank: as many numbers on every rank, which travel along.
  /// Collective.
  void share(std::span<const double> of_rank = {});

  // As shared last, the same on every rank.
  /// The sum of all groups' losses. [nats]
  [[nodiscard]] double nats() const { return nats_; }
  /// One an MoE layer, over all passes.
  [[nodiscard]] const std::vector<LayerStatistics>& layers() const { return merged_; }
  [[nodiscard]] std::span<const double> of_rank(RankId rank) const;

 private:
  struct Pass {
    Index num_groups = 0;  // over all ranks
    Index group_rows = 0;  // tokens
  };
  [[nodiscard]] Range groups_of(RankId rank, const Pass& pass) const {
    return even_share(pass.num_groups, communicator_.size(), rank.value());
  }
  void gather(std::span<const double> of_rank);
  void read_pass(const Pass& pass, std::span<const Index> counts, std::span<Index> next);

  const comm::Communicator& communicator_;
  std::vector<const MoeLayer<T>*> moe_layers_;
  Index num_counts_ = 0;  // of a pass
  Index num_terms_ = 1;   // of a group
  std::vector<Pass> passes_;
  std::vector<Index> counts_;  // [passes, num_counts]
  std::vector<double> terms_;  // [passes, local groups, num_terms]
  Index num_of_rank_ = 0;
  std::vector<Range> places_;  // [ranks] of a rank's numbers in all_: its own, then the terms of its groups
  std::vector<double> all_;
  std::vector<Index> rows_;  // [groups of a pass] where a group's terms begin in all_
  double nats_ = 0.0;
  std::vector<double> group_nats_;  // [groups of all passes]
  LayerStatistics of_pass_;
  std::vector<LayerStatistics> merged_;
};

/// The statistics of the last forward of each layer. Collective.
template <class T>
[[nodiscard]] std::vector<LayerStatistics> collect_statistics(const comm::Communicator& communicator, const Step& step,
                                                              const std::vector<const MoeLayer<T>*>& layers);

}  // namespace conclave::model
