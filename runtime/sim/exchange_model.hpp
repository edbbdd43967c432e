// SPDX-License-Identifier: BSD-3-Clause
// What one exchange costs: a strategy on a network, priced by one of the tiers.
#pragma once

#include "runtime/sim/network.hpp"

#include <optional>

namespace conclave::sim {

/// flat: everything at once. pairwise: in rounds of one peer each, one at a time, as MPI libraries do it. hierarchical:
/// first to mates of the right place within nodes, then between nodes (comm/plan/two_phase.hpp).
enum class Strategy { flat, pairwise, hierarchical };
inline constexpr std::array<EnumName<Strategy>, 3> enum_names(Strategy) {
  return {{{Strategy::flat, "flat"}, {Strategy::pairwise, "pairwise"}, {Strategy::hierarchical, "hierarchical"}}};
}

/// How exactly, and at what cost: bound.hpp, rounds.hpp, fluid.hpp. automatic: rounds for strategies that have rounds;
/// else fluid for up to most_automatic_flows with most_automatic_hops in all, bound beyond.
enum class Tier { automatic, bound, rounds, fluid };
inline constexpr std::array<EnumName<Tier>, 4> enum_names(Tier) {
  return {{{Tier::automatic, "auto"}, {Tier::bound, "bound"}, {Tier::rounds, "rounds"}, {Tier::fluid, "fluid"}}};
}

inline constexpr Index most_automatic_flows = Index{1} << 20;
inline constexpr Index most_automatic_hops = Index{1} << 25;
/// Messages of a schedule in rounds that would take hours to price are refused.
inline constexpr double most_messages = 1e11;

struct ExchangeOptions {
  Strategy strategy = Strategy::flat;
  Tier tier = Tier::automatic;
};
void describe(ExchangeOptions& options, OptionTable& table);
/// InputError, naming the option, unless its value, an amount of bytes or of work, is finite and 0 or more.
void expect_amount(std::string_view name, double value);

struct PhaseTime {
  std::string name;
  double time_s = 0.0;
};

struct ExchangePrice {
  double time_s = 0.0;  // until the last rank has what is for it
  std::vector<PhaseTime> phases{};
  std::string bottleneck{};  // the resource that limits; empty: nothing is sent
  Tier tier = Tier::bound;   // that was used
  // Of the tier fluid:
  std::optional<double> bound_s{};  // what no sharing of these routes can be faster than
  double window_s = 0.0;            // within which ends of flows were merged
};

/// InputError for a tier that does not go with the strategy, and for more ranks than it can do.
[[nodiscard]] ExchangePrice price_exchange(const Network& network, const Traffic& traffic,
                                           const ExchangeOptions& options);

}  // namespace conclave::sim
