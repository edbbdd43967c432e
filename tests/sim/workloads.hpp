// SPDX-License-Identifier: BSD-3-Clause
// Training steps for tests.
#pragma once

#include "runtime/sim/training_price.hpp"

namespace conclave::sim {

/// 3 blocks, 2 of them with 8 experts, of which the last two are wider; 12 groups in 2 passes.
inline Workload small_workload() {
  Workload w{.groups = 12,
             .passes = 2,
             .group_tokens = 32,
             .context = 16,
             .width = 8,
             .heads = 2,
             .vocabulary = 50,
             .dense_blocks = 1,
             .moe_blocks = 2};
  w.dense = {8, 24, 2, 2 * 8 * 24};
  w.moe.experts.assign(8, {8, 16, 2, 2 * 8 * 16});
  w.moe.experts[6] = w.moe.experts[7] = {8, 20, 3, 3 * 8 * 20};
  w.moe.choices = 2.0;
  w.moe.slots = 10;
  w.moe.competing = 32;
  w.moe.gate_elements = 8 * 8;
  w.replicated_parameters = 3 * 4 * 64 + 2 * 50 * 8 + 2 * 8 * 24 + 2 * 64;
  w.transport.exchange = "flat";
  return w;
}

/// Rates that make every kind of work count, the same for any number of busy ranks.
inline Machine small_machine() {
  Machine m;
  m.compute = {{1, 1, {}}};
  const auto surely = [](double value) { return Fitted{value, value, value}; };
  for (const auto& entry : enum_names(Phase{})) {
    if (entry.value == Phase::wait) continue;
    m.compute[0].phases[static_cast<std::size_t>(entry.value)] = {surely(1e-7), surely(2e-11), surely(1e-10),
                                                                  surely(2e-10), surely(3e-10)};
  }
  m.cache_bytes = 1e5;
  return m;
}

inline std::vector<double> even_popularity(const Workload& w) {
  return std::vector<double>(w.moe.experts.size(), 1.0 / static_cast<double>(w.moe.num_experts()));
}

inline TrainingPrice price(const Workload& w, const Cluster& cluster, const Machine* machine,
                           const std::vector<double>& popularity) {
  const Network network(cluster);
  const std::vector<ExpertLoads> loads{expected_loads(w, popularity)};
  return price_training_step({w, network, machine, loads});
}
inline TrainingPrice price(const Workload& w, const Cluster& cluster, const Machine* machine) {
  return price(w, cluster, machine, even_popularity(w));
}

}  // namespace conclave::sim
