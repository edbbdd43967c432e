// SPDX-License-Identifier: BSD-3-Clause
// What one step costs: dispatch, the experts' matrix products, combine, and the reduction of gradients. Phases follow
// one another, each as long as on the slowest rank; with waves, dispatch and products overlap.
#pragma once

#include "runtime/sim/exchange_model.hpp"
#include "runtime/sim/popularity.hpp"

namespace conclave::sim {

/// How dense gradients are summed. ring: 2 (P - 1) rounds of a P-th each to the next rank. direct: each rank sends
/// every other one the part that is that one's to sum, and gets the sums back, as the reproducible reduction does.
enum class Reduce { ring, direct };
inline constexpr std::array<EnumName<Reduce>, 2> enum_names(Reduce) {
  return {{{Reduce::ring, "ring"}, {Reduce::direct, "direct"}}};
}

struct StepOptions {
  double bytes_per_rank = 0.0;  // that a rank dispatches, what it keeps included
  double flops_per_rank = 0.0;  // of the experts, on average
  Index waves = 1;
  double capacity_factor = 0.0;  // 0: no limit
  double gradient_bytes = 0.0;   // of each rank
  Reduce reduce = Reduce::ring;
  ExchangeOptions exchange{};
};
void describe(StepOptions& options, OptionTable& table);
/// InputError for values out of range.
void validate(const StepOptions& options);

struct StepPrice {
  double time_s = 0.0;              // the sum of the phases less hidden_s
  std::vector<PhaseTime> phases{};  // dispatch, gemm, combine, reduce: each by itself
  double hidden_s = 0.0;            // of dispatch and products, what overlaps
  std::string bottleneck{};         // of the longest phase
  double dropped = 0.0;             // share of what was to be dispatched
  Tier tier = Tier::bound;          // of dispatch and combine
};

[[nodiscard]] StepPrice price_step(const Network& network, const Popularity& popularity, const StepOptions& options);

/// Seconds of summing `bytes` of each rank over all ranks, so that all have the sum.
[[nodiscard]] ExchangePrice price_reduction(const Network& network, double bytes, Reduce reduce, Tier tier);

}  // namespace conclave::sim
