// SPDX-License-Identifier: BSD-3-Clause
// Slots and who gets them, straight from the definitions: every claim in its turn, one after another.
#pragma once

#include "tests/gating/reference_types.hpp"

#include <cmath>

namespace conclave::test {

/// The whole part of a number of 0 or more, by counting: the largest whole number up to it, at most `most`.
inline Index reference_whole(double value, Index most) {
  Index whole = 0;
  while (whole < most && static_cast<double>(whole + 1) <= value) ++whole;
  return whole;
}

/// The least whole number that is not below it, at most `most`.
inline Index reference_ceiling(double value, Index most) {
  Index whole = 0;
  while (whole < most && static_cast<double>(whole) < value) ++whole;
  return whole;
}

/// The nearest whole number, of two the even one, at most `most`.
inline Index reference_nearest(double value, Index most) {
  const Index below = reference_whole(value, most);
  const double rest = value - static_cast<double>(below);
  const bool up = rest > 0.5 || (rest == 0.5 && below % 2 == 1);
  return std::min(most, up ? below + 1 : below);
}

/// Section 4, and the other systems' formulas: slots for cf, k, S and E; at least min_capacity, at most S. `far` is a
/// number of slots beyond which it makes no difference.
inline Index reference_capacity(gating::CapacityFormula formula, double cf, double k, Index num_tokens,
                                Index num_experts, Index min_capacity) {
  using gating::CapacityFormula;
  if (cf == 0.0) return num_tokens;
  const auto s = static_cast<double>(num_tokens);
  const auto e = static_cast<double>(num_experts);
  const Index far = 1000 * (num_tokens + 1);
  Index slots = 0;
  if (formula == CapacityFormula::standard) slots = reference_ceiling(cf * k * s / e, far);
  if (formula == CapacityFormula::mesh) slots = reference_whole(s * cf / e, far);
  if (formula == CapacityFormula::lingvo) {
    slots = reference_whole(s * cf / e, far);
    if (slots == 0) slots = 4;
    while (slots % 4 != 0) ++slots;
  }
  if (formula == CapacityFormula::flaxformer) slots = reference_nearest(s * cf / e, far);
  if (formula == CapacityFormula::deepspeed) slots = reference_ceiling(s / e * cf * k, far);
  if (formula == CapacityFormula::tutel) {
    const Index tokens_an_expert = (num_tokens + num_experts - 1) / num_experts;
    const Index each = reference_whole(cf * static_cast<double>(tokens_an_expert), far);
    slots = reference_whole(k * static_cast<double>(each), far);
  }
  if (formula == CapacityFormula::fastmoe) {
    slots = reference_whole(static_cast<double>(reference_ceiling(cf * s, far)) * k / e, far);
  }
  if (formula == CapacityFormula::megatron) slots = reference_ceiling(s * k / e * cf, far);
  if (formula == CapacityFormula::megablocks) {
    slots = reference_whole(cf * k * s / e, far);
    if (slots == 0) slots = num_tokens;
  }
  return std::min(num_tokens, std::max(min_capacity, slots));
}

/// The standard formula.
inline Index reference_capacity(double cf, double k, Index num_tokens, Index num_experts, Index min_capacity) {
  return reference_capacity(gating::CapacityFormula::standard, cf, k, num_tokens, num_experts, min_capacity);
}

/// A claim: choice j of token t of a group.
struct ReferenceClaim {
  std::size_t group;
  std::size_t t;
  std::size_t j;
};

/// Section 4: the claims of groups that share their slots, in the order in which they are served.
inline std::vector<ReferenceClaim> reference_order(gating::Priority priority,
                                                   const std::vector<ReferenceRouting>& groups) {
  std::vector<ReferenceClaim> waiting;  // all choices 0 in token order, then all choices 1, ...
  std::size_t columns = 0;
  for (const ReferenceRouting& r : groups) {
    for (const IndexRow& row : r.choices) columns = std::max(columns, row.size());
  }
  for (std::size_t j = 0; j < columns; ++j) {
    for (std::size_t g = 0; g < groups.size(); ++g) {
      for (std::size_t t = 0; t < groups[g].choices.size(); ++t) {
        if (j < groups[g].choices[t].size()) waiting.push_back({g, t, j});
      }
    }
  }
  const auto key = [&](const ReferenceClaim& c) { return groups[c.group].key[c.t][c.j]; };
  std::vector<ReferenceClaim> order;
  while (!waiting.empty()) {
    std::size_t next = 0;  // the first of those that come first
    for (std::size_t c = 1; c < waiting.size() && priority != gating::Priority::position; ++c) {
      const bool same_turn = priority != gating::Priority::best_token || waiting[c].j == waiting[next].j;
      if (same_turn && !groups[waiting[c].group].key.empty() && key(waiting[c]) > key(waiting[next])) next = c;
    }
    order.push_back(waiting[next]);
    waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(next));
  }
  return order;
}

/// Section 4: fills `serving` of groups that share `capacity` slots of each expert, from their choices, refusals, keys
/// and, for re-routing, q.
inline void reference_serve(const gating::RouterOptions& options, Index capacity,
                            std::vector<ReferenceRouting>& groups) {
  for (ReferenceRouting& r : groups) {
    r.capacity = capacity;
    r.serving.clear();
    for (const IndexRow& row : r.choices) r.serving.emplace_back(row.size(), -1);
  }
  IndexRow taken(static_cast<std::size_t>(options.experts), 0);
  std::vector<ReferenceClaim> dropped;
  for (const ReferenceClaim& c : reference_order(options.priority, groups)) {
    ReferenceRouting& r = groups[c.group];
    if (r.refused[c.t][c.j] != 0 && !r.is_late) continue;
    const Index expert = r.choices[c.t][c.j];
    if (taken[static_cast<std::size_t>(expert)] >= capacity) {
      dropped.push_back(c);
    } else {
      ++taken[static_cast<std::size_t>(expert)];
      r.serving[c.t][c.j] = expert;
    }
  }
  for (const ReferenceClaim& c : dropped) {
    if (options.overflow != gating::Overflow::reroute) break;
    ReferenceRouting& r = groups[c.group];
    const Index other = reference_best(r.q[c.t], [&](Index e) {
      return taken[static_cast<std::size_t>(e)] < capacity && !reference_holds(r.choices[c.t], e) &&
             !reference_holds(r.serving[c.t], e);
    });
    if (other < 0) continue;
    ++taken[static_cast<std::size_t>(other)];
    r.serving[c.t][c.j] = other;
  }
}

/// One group by itself, with r.capacity slots.
inline void reference_serve(const gating::RouterOptions& options, ReferenceRouting& r) {
  std::vector<ReferenceRouting> alone{r};
  reference_serve(options, r.capacity, alone);
  r = alone[0];
}

}  // namespace conclave::test
