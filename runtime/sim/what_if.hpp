// SPDX-License-Identifier: BSD-3-Clause
// What a training step would gain if one of its limits were gone: the same price with that limit lifted.
#pragma once

#include "runtime/core/options.hpp"
#include "runtime/sim/training_price.hpp"

#include <array>

namespace conclave::sim {

enum class Limit { uneven_experts, bandwidth, node_bandwidth, latency, posting, calls, noise, faults };
inline constexpr std::array<EnumName<Limit>, 8> enum_names(Limit) {
  return {{{Limit::uneven_experts, "uneven experts"},
           {Limit::bandwidth, "bandwidth between nodes"},
           {Limit::node_bandwidth, "bandwidth within nodes"},
           {Limit::latency, "latency"},
           {Limit::posting, "posting messages"},
           {Limit::calls, "costs of calls"},
           {Limit::noise, "noise"},
           {Limit::faults, "slow hosts and NICs"}}};
}

/// What lifting it means, in a sentence's part: "every expert gets the mean of all rows, never more".
[[nodiscard]] std::string_view meaning_of(Limit limit);

/// The step without one of its limits.
struct LiftedLimit {
  Limit limit = Limit::uneven_experts;
  double step_s = 0.0;
  double gain_s = 0.0;  // of the step's time; below 0 where waves or a tie of strategies make it so
};

/// The case's price with a limit lifted. Errors as price_training_step.
[[nodiscard]] TrainingPrice price_without(const TrainingCase& training, Limit limit);

/// All limits, the largest gain first; step_s: the case's own price.
[[nodiscard]] std::vector<LiftedLimit> lifted_limits(const TrainingCase& training, double step_s);

/// The same rows in all, each expert with the mean of them, whoever sends them.
[[nodiscard]] ExpertLoads evened(const ExpertLoads& loads);

}  // namespace conclave::sim
