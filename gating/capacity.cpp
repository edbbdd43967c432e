// SPDX-License-Identifier: BSD-3-Clause
#include "gating/capacity.hpp"

#include <cmath>
#include <numeric>

namespace conclave::gating {
namespace {

// Claims in the order of Priority::position are numbered choice by choice: claim c is choice c / S of token c % S.
template <class T>
std::vector<Index> claim_order(const Claims<T>& claims, Priority priority) {
  const Index num_tokens = claims.choices.rows;
  std::vector<Index> order(static_cast<std::size_t>(num_tokens * claims.choices.cols));
  std::iota(order.begin(), order.end(), Index{0});
  if (priority == Priority::probability) {
    const auto gate = [&](Index claim) { return claims.raw_gate(claim % num_tokens, claim / num_tokens); };
    std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) { return gate(a) > gate(b); });
  }
  return order;
}

bool holds(std::span<const std::int32_t> experts, std::int32_t expert) {
  return std::find(experts.begin(), experts.end(), expert) != experts.end();
}

// The free expert with the largest score that the token neither chose nor is served by; not_served if there is none.
template <class T>
std::int32_t best_free_expert(std::span<const T> score, std::span<const Index> free_slots,
                              std::span<const std::int32_t> chosen, std::span<const std::int32_t> serving) {
  std::int32_t best = not_served;
  for (std::size_t e = 0; e < score.size(); ++e) {
    const auto expert = static_cast<std::int32_t>(e);
    if (free_slots[e] == 0 || holds(chosen, expert) || holds(serving, expert)) continue;
    if (best == not_served || score[e] > score[static_cast<std::size_t>(best)]) best = expert;
  }
  return best;
}

}  // namespace

Index expert_capacity(double capacity_factor, double choices, Index num_tokens, Index num_experts, Index min_capacity) {
  if (capacity_factor == 0.0) return num_tokens;
  const double share =
      std::ceil(capacity_factor * choices * static_cast<double>(num_tokens) / static_cast<double>(num_experts));
  // Compared as numbers, so that a huge factor cannot overflow an integer.
  if (share >= static_cast<double>(num_tokens)) return num_tokens;
  return std::min(num_tokens, std::max(min_capacity, static_cast<Index>(share)));
}

template <class T>
void serve_claims(const Claims<T>& claims, const CapacityRule& rule, MatrixView<std::int32_t> serving) {
  const Index num_tokens = claims.choices.rows;
  const bool may_refuse = claims.refused.rows > 0;
  std::vector<Index> free_slots(static_cast<std::size_t>(claims.score.cols), rule.capacity);
  std::vector<Index> dropped;
  for (const Index claim : claim_order(claims, rule.priority)) {
    const Index t = claim % num_tokens;
    const Index j = claim / num_tokens;
    serving(t, j) = not_served;
    if (may_refuse && claims.refused(t, j) != 0) continue;
    const std::int32_t expert = claims.choices(t, j);
    Index& slots = free_slots[static_cast<std::size_t>(expert)];
    if (slots == 0) {
      dropped.push_back(claim);
      continue;
    }
    --slots;
    serving(t, j) = expert;
  }
  if (rule.overflow == Overflow::drop) return;
  for (const Index claim : dropped) {
    const Index t = claim % num_tokens;
    const std::int32_t expert =
        best_free_expert<T>(claims.score.row(t), free_slots, claims.choices.row(t), serving.row(t));
    if (expert == not_served) continue;
    --free_slots[static_cast<std::size_t>(expert)];
    serving(t, claim / num_tokens) = expert;
  }
}

template void serve_claims(const Claims<float>&, const CapacityRule&, MatrixView<std::int32_t>);
template void serve_claims(const Claims<double>&, const CapacityRule&, MatrixView<std::int32_t>);

}  // namespace conclave::gating
