// SPDX-License-Identifier: BSD-3-Clause
// How long a rank takes for work, by what was measured or by the description alone.
#pragma once

#include "runtime/sim/cluster.hpp"
#include "runtime/sim/machine.hpp"
#include "runtime/sim/step_work.hpp"

namespace conclave::sim {

class RankSpeed {
 public:
  /// Of a cluster's ranks while all of a node compute. Without a machine products take flops / rank_flops_per_s and
  /// nothing else takes time; InputError if the cluster does not say that. footprint_bytes: memory that a rank goes
  /// through in a step (step_footprint).
  RankSpeed(const Cluster& cluster, const Machine* machine, double footprint_bytes);

  /// On a host that is as fast as it should be.
  [[nodiscard]] double seconds(Phase phase, const Work& work) const;
  [[nodiscard]] double seconds(const PhaseWork& work) const;
  /// A standard deviation of seconds(), by the intervals of the rates.
  [[nodiscard]] double deviation_s(Phase phase, const Work& work) const;
  /// What is left of the speed of each node; empty: all of it everywhere.
  [[nodiscard]] double factor(NodeId node) const { return factors_.empty() ? 1.0 : factors_[index(node)]; }
  [[nodiscard]] double slowest_factor() const { return slowest_; }

 private:
  [[nodiscard]] static std::size_t index(NodeId node) { return static_cast<std::size_t>(node.value()); }
  bool is_measured_;
  ComputeRates rates_;
  double far_share_ = 0.0;
  double s_per_flop_ = 0.0;      // where nothing was measured
  std::vector<double> factors_;  // [num_nodes], or empty
  double slowest_ = 1.0;
};

}  // namespace conclave::sim
