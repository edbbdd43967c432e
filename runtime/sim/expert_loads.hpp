// SPDX-License-Identifier: BSD-3-Clause
// How many rows come to each expert of an MoE layer in a pass: random counts, by who is popular and who has slots.
#pragma once

#include "runtime/sim/expected_max.hpp"
#include "runtime/sim/workload.hpp"

#include <span>
#include <string>
#include <vector>

namespace conclave::sim {

struct ExpertLoads {
  std::vector<Moments> rows{};  // [experts] that are kept, of a pass
  double claimed = 0.0;         // choices of all tokens of a pass
  /// [classes][experts] of them, by classes of sources: even shares of a step's groups. Empty: all sources are alike.
  std::vector<std::vector<double>> by_source{};
  std::string name{};  // "layer 8, step 40"; empty: of any layer and step
  [[nodiscard]] double kept() const;
  /// Share of the choices that got no slot.
  [[nodiscard]] double drop_rate() const;
};

/// Each token draws `choices` different experts by their popularity (shares that add up to 1), independently of the
/// other tokens; an expert keeps what it has slots for. So a choice is one of min(1, c popularity), c such that they
/// add up to `choices`. InvariantError for another number of experts.
[[nodiscard]] ExpertLoads expected_loads(const Workload& workload, std::span<const double> popularity);

}  // namespace conclave::sim
