// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/expert_loads.hpp"

#include "runtime/core/error.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::sim {
namespace {

// The chance that a token chooses each expert: those of great popularity are chosen by all, the others share the rest.
std::vector<double> chances_of(std::span<const double> popularity, double choices) {
  std::vector<double> chances(popularity.size(), 0.0);
  double rest = 0.0;  // popularity of those that are not chosen by all
  for (const double share : popularity) rest += share;
  double open = std::min(choices, static_cast<double>(popularity.size()));  // choices that are left to them
  std::vector<bool> is_full(popularity.size(), false);
  for (bool changed = true; changed && rest > 0.0;) {
    changed = false;
    const double factor = open / rest;
    for (std::size_t e = 0; e < popularity.size(); ++e) {
      if (is_full[e]) continue;
      chances[e] = popularity[e] * factor;
      if (chances[e] < 1.0) continue;
      chances[e] = 1.0;
      is_full[e] = changed = true;
      open -= 1.0;
      rest -= popularity[e];
    }
    if (open <= 1e-12) break;
  }
  return chances;
}

}  // namespace

double ExpertLoads::kept() const {
  double sum = 0.0;
  for (const Moments& m : rows) sum += m.mean;
  return sum;
}

double ExpertLoads::drop_rate() const { return claimed > 0.0 ? std::max(0.0, 1.0 - kept() / claimed) : 0.0; }

ExpertLoads expected_loads(const Workload& w, std::span<const double> popularity) {
  invariant(std::ssize(popularity) == w.moe.num_experts(), "the popularity of {} experts of {}", popularity.size(),
            w.moe.num_experts());
  const auto competing = static_cast<double>(w.moe.competing);
  const double tokens = static_cast<double>(w.groups_in_pass() * w.group_tokens);
  const double times = tokens / competing;
  const std::vector<double> chances = chances_of(popularity, w.moe.choices);
  ExpertLoads loads;
  loads.claimed = tokens * std::min(w.moe.choices, static_cast<double>(popularity.size()));
  double last_chance = -1.0;
  Moments last;
  for (const double chance : chances) {
    if (chance != last_chance) {
      last = capped_binomial(competing, chance, static_cast<double>(w.moe.slots)).repeated(times);
      last_chance = chance;
    }
    loads.rows.push_back(last);
  }
  return loads;
}

}  // namespace conclave::sim
