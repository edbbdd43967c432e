// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/rank_speed.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace conclave::sim {
namespace {

double deviation(const Fitted& f) { return (f.high - f.low) / (2.0 * deviations_of_90); }

}  // namespace

RankSpeed::RankSpeed(const Cluster& cluster, const Machine* machine, double footprint_bytes)
    : is_measured_(machine != nullptr) {
  if (is_measured_) {
    far_share_ = far_share(footprint_bytes, machine->cache_bytes);
    rates_ = machine->rates(cluster.ranks_per_node);
  } else {
    s_per_flop_ = 1.0 / cluster.flops_per_s(NodeId{0}) * cluster.host_factor(NodeId{0});
  }
  const bool has_slow_hosts = std::ranges::any_of(cluster.faults, [](const Fault& f) { return f.host != -1; });
  for (NodeId node; has_slow_hosts && node < NodeId{cluster.nodes}; ++node) {
    factors_.push_back(cluster.host_factor(node));
    slowest_ = std::min(slowest_, factors_.back());
  }
}

double RankSpeed::seconds(Phase phase, const Work& work) const {
  return is_measured_ ? rates_.of(phase).seconds(work, far_share_) : s_per_flop_ * work.flops;
}

double RankSpeed::seconds(const PhaseWork& work) const {
  double sum = 0.0;
  for (const auto& entry : enum_names(Phase{})) sum += seconds(entry.value, of(work, entry.value));
  return sum;
}

double RankSpeed::deviation_s(Phase phase, const Work& work) const {
  if (!is_measured_) return 0.0;
  const Rate& rate = rates_.of(phase);
  const std::array parts{deviation(rate.s_per_call) * work.calls, deviation(rate.s_per_flop) * work.flops,
                         deviation(rate.s_per_byte) * work.bytes,
                         deviation(rate.s_per_far_byte) * far_share_ * work.bytes,
                         deviation(rate.s_per_element) * work.elements};
  return std::sqrt(std::inner_product(parts.begin(), parts.end(), parts.begin(), 0.0));
}

}  // namespace conclave::sim
