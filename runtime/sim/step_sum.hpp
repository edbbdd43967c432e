// SPDX-License-Identifier: BSD-3-Clause
// A step's price while its parts are put together.
#pragma once

#include "runtime/sim/layer_price.hpp"

#include <string>
#include <vector>

namespace conclave::sim {

/// What the slowest rank of each part of a step takes for it.
struct ComputeParts {
  double groups_s = 0.0;  // what groups go through by themselves
  double routing_s = 0.0;
  double experts_s = 0.0;
  double reduce_s = 0.0;
  double optimizer_s = 0.0;
};

/// The sum of what a step is made of, while it is put together.
struct StepSum {
  PhaseWork work{};  // mean over ranks
  Spread compute;    // one part after another
  ComputeParts parts;
  std::array<double, num_phases> busy_s{};  // by how much longer phases take for messages that they hide
  double exposed_s = 0.0;                   // communication that nothing hides
  double communication_s = 0.0;
  std::string bottleneck{};  // of the exposed exchange that takes longest
  double longest_exchange_s = 0.0;
  std::vector<PathPart> path{};

  void add(const Spread& part, std::string what, std::string binding) {
    compute.mean_s += part.mean_s;
    compute.max_s += part.max_s;
    path.push_back({std::move(what), part.max_s, std::move(binding)});
  }
  /// What messages that a phase hides cost it.
  void add_busy(Phase phase, double seconds) {
    busy_s[static_cast<std::size_t>(phase)] += seconds;
    compute.mean_s += seconds;
    compute.max_s += seconds;
  }
  void add_exchange(double exposed, double all_s, const std::string& limited_by, std::string what) {
    communication_s += all_s;
    add_exposed(exposed, limited_by, std::move(what));
  }
  void add_exposed(double exposed, const std::string& limited_by, std::string what) {
    exposed_s += exposed;
    if (exposed > 0.0) path.push_back({std::move(what), exposed, limited_by});
    if (exposed <= longest_exchange_s) return;
    longest_exchange_s = exposed;
    bottleneck = limited_by;
  }
};

}  // namespace conclave::sim
