// SPDX-License-Identifier: BSD-3-Clause
#include "gating/replayed_capacity.hpp"

#include "runtime/core/error.hpp"

#include <algorithm>
#include <numeric>

namespace conclave::gating {
namespace {

// Of `claims` in `groups` groups, none with more than `tokens`.
Index kept_of_class(Index claims, Index groups, Index tokens, Index slots, ClaimSpread spread) {
  if (spread == ClaimSpread::even) return std::min(claims, groups * slots);
  const Index full = claims / tokens;
  return full * std::min(slots, tokens) + std::min(claims % tokens, slots);
}

}  // namespace

RoutingStep with_slots(const RoutingSizes& s, const RoutingStep& step, Index slots, CapacityScope scope,
                       ClaimSpread spread) {
  invariant(slots >= 1, "experts of {} slots", slots);
  RoutingStep result = step;
  for (Index layer = 0; layer < s.layers; ++layer) {
    for (Index e = 0; e < s.experts; ++e) {
      Index left = slots;  // of scope step
      for (Index c = 0; c < s.classes; ++c) {
        const auto place = static_cast<std::size_t>(s.place(layer, c, e));
        const Index claims = step.claimed[place];
        const Index groups = even_share(s.groups, s.classes, c).size();
        const bool over_step = scope == CapacityScope::step;
        Index& kept = result.kept[place];
        kept = over_step ? std::min(claims, left) : kept_of_class(claims, groups, s.group_tokens, slots, spread);
        left -= over_step ? kept : 0;
      }
    }
  }
  return result;
}

Index dropped(const RoutingStep& step) {
  return std::accumulate(step.claimed.begin(), step.claimed.end(), Index{0}) -
         std::accumulate(step.kept.begin(), step.kept.end(), Index{0});
}

}  // namespace conclave::gating
