// SPDX-License-Identifier: BSD-3-Clause
#include "gating/capacity.hpp"

#include "runtime/core/scratch.hpp"

#include <cmath>

namespace conclave::gating {
namespace {

// Slots before the limits, a whole number; nothing where the formula means "no limit".
double slots(CapacityFormula formula, double cf, double k, double tokens, double experts) {
  switch (formula) {
    case CapacityFormula::standard:
      return std::ceil(cf * k * tokens / experts);
    case CapacityFormula::mesh:
      return std::floor(tokens * cf / experts);
    case CapacityFormula::lingvo: {
      const double share = std::floor(tokens * cf / experts);
      return 4.0 * std::ceil((share == 0.0 ? 4.0 : share) / 4.0);
    }
    case CapacityFormula::flaxformer:
      return std::nearbyint(tokens * cf / experts);
    case CapacityFormula::deepspeed:
      return std::ceil(tokens / experts * cf * k);
    case CapacityFormula::tutel:
      return k * std::floor(cf * std::ceil(tokens / experts));
    case CapacityFormula::fastmoe:
      return std::floor(std::ceil(cf * tokens) * k / experts);
    case CapacityFormula::megatron:
      return std::ceil(tokens * k / experts * cf);
    case CapacityFormula::megablocks: {
      const double share = std::floor(cf * k * tokens / experts);
      return share == 0.0 ? tokens : share;
    }
  }
  invariant(false, "a capacity formula of number {}", static_cast<int>(formula));
  return 0.0;
}

/// A group's claims one by one. Claim c is choice c / n of token c % n, so that numbers ascend in the order of
/// Priority::position.
template <class T>
class ClaimTable {
 public:
  ClaimTable(const Claims<T>& claims, const CapacityRule& rule) : claims_(claims), rule_(rule) {}

  [[nodiscard]] Index size() const { return claims_.choices.rows * claims_.choices.cols; }
  [[nodiscard]] Index token(Index claim) const { return claim % claims_.choices.rows; }
  [[nodiscard]] Index choice(Index claim) const { return claim / claims_.choices.rows; }
  /// The expert that the claim asks for, or no_expert.
  [[nodiscard]] std::int32_t expert(Index claim) const {
    if (claims_.refused.rows > 0 && claims_.refused(token(claim), choice(claim)) != 0) return no_expert;
    return claims_.choices(token(claim), choice(claim));
  }
  /// Whether claim a is served before claim b: a total order.
  [[nodiscard]] bool precedes(Index a, Index b) const {
    if (rule_.priority == Priority::position) return a < b;
    if (rule_.priority == Priority::best_token && choice(a) != choice(b)) return choice(a) < choice(b);
    const T key_a = claims_.key(token(a), choice(a));
    const T key_b = claims_.key(token(b), choice(b));
    return key_a != key_b ? key_a > key_b : a < b;
  }

 private:
  const Claims<T>& claims_;
  const CapacityRule& rule_;
};

/// The claims of each expert that is asked for, ascending: expert e's are claims[first[e]] up to claims[first[e + 1]].
struct ClaimsByExpert {
  std::span<Index> first;  // [num_experts + 1]
  std::span<Index> claims;
};

template <class T>
ClaimsByExpert by_expert(const ClaimTable<T>& table, Index num_experts, Scratch& scratch) {
  const std::span<Index> first = scratch.values<Index>(num_experts + 1, 0);
  for (Index c = 0; c < table.size(); ++c) {
    if (table.expert(c) != no_expert) ++first[static_cast<std::size_t>(table.expert(c)) + 1];
  }
  for (std::size_t e = 1; e < first.size(); ++e) first[e] += first[e - 1];
  const std::span<Index> claims = scratch.values<Index>(first.back());
  const std::span<Index> next = scratch.values<Index>(num_experts);
  std::copy_n(first.begin(), num_experts, next.begin());
  for (Index c = 0; c < table.size(); ++c) {
    const std::int32_t e = table.expert(c);
    if (e != no_expert) claims[static_cast<std::size_t>(next[static_cast<std::size_t>(e)]++)] = c;
  }
  return {first, claims};
}

// Serves every claim that finds a slot, and returns the others. free_slots: [num_experts] what is left of `capacity`.
template <class T>
std::span<Index> serve_first_asked(const ClaimTable<T>& table, Index capacity, std::span<Index> free_slots,
                                   MatrixView<std::int32_t> serving, Scratch& scratch) {
  const auto num_experts = static_cast<Index>(free_slots.size());
  const ClaimsByExpert asked = by_expert(table, num_experts, scratch);
  const std::span<Index> dropped = scratch.values<Index>(std::ssize(asked.claims));
  auto dropped_end = dropped.begin();
  for (Index e = 0; e < num_experts; ++e) {
    const auto begin = asked.claims.begin() + asked.first[static_cast<std::size_t>(e)];
    const auto end = asked.claims.begin() + asked.first[static_cast<std::size_t>(e) + 1];
    const auto served_end = begin + std::min<Index>(capacity, end - begin);
    if (served_end != end) {
      std::nth_element(begin, served_end, end, [&](Index a, Index b) { return table.precedes(a, b); });
    }
    for (auto claim = begin; claim != served_end; ++claim) {
      serving(table.token(*claim), table.choice(*claim)) = static_cast<std::int32_t>(e);
    }
    free_slots[static_cast<std::size_t>(e)] = capacity - (served_end - begin);
    dropped_end = std::copy(served_end, end, dropped_end);
  }
  return {dropped.begin(), dropped_end};
}

bool holds(std::span<const std::int32_t> experts, std::int32_t expert) {
  return std::find(experts.begin(), experts.end(), expert) != experts.end();
}

// The free expert with the largest score that the token neither chose nor is served by; no_expert if there is none.
template <class T>
std::int32_t best_free_expert(std::span<const T> score, std::span<const Index> free_slots,
                              std::span<const std::int32_t> chosen, std::span<const std::int32_t> serving) {
  std::int32_t best = no_expert;
  for (std::size_t e = 0; e < score.size(); ++e) {
    const auto expert = static_cast<std::int32_t>(e);
    if (free_slots[e] == 0 || holds(chosen, expert) || holds(serving, expert)) continue;
    if (best == no_expert || score[e] > score[static_cast<std::size_t>(best)]) best = expert;
  }
  return best;
}

}  // namespace

Index expert_capacity(CapacityFormula formula, double capacity_factor, double choices, Index num_tokens,
                      Index num_experts, Index min_capacity) {
  if (capacity_factor == 0.0 || num_tokens == 0) return num_tokens;
  const double share =
      slots(formula, capacity_factor, choices, static_cast<double>(num_tokens), static_cast<double>(num_experts));
  // Compared as numbers, so that a huge factor cannot overflow an integer.
  if (share >= static_cast<double>(num_tokens)) return num_tokens;
  return std::min(num_tokens, std::max(min_capacity, static_cast<Index>(share)));
}

template <class T>
void serve_claims(const Claims<T>& claims, const CapacityRule& rule, MatrixView<std::int32_t> serving) {
  const ClaimTable<T> table(claims, rule);
  for (Index t = 0; t < serving.rows; ++t) std::fill_n(serving.row(t).data(), serving.cols, no_expert);
  Scratch scratch;
  const std::span<Index> free_slots = scratch.values<Index>(rule.num_experts);
  const std::span<Index> dropped = serve_first_asked(table, rule.capacity, free_slots, serving, scratch);
  if (rule.overflow == Overflow::drop) return;
  std::sort(dropped.begin(), dropped.end(), [&](Index a, Index b) { return table.precedes(a, b); });
  for (const Index claim : dropped) {
    const Index t = table.token(claim);
    const std::int32_t expert =
        best_free_expert<T>(claims.score.row(t), free_slots, claims.choices.row(t), serving.row(t));
    if (expert == no_expert) continue;
    --free_slots[static_cast<std::size_t>(expert)];
    serving(t, table.choice(claim)) = expert;
  }
}

template void serve_claims(const Claims<float>&, const CapacityRule&, MatrixView<std::int32_t>);
template void serve_claims(const Claims<double>&, const CapacityRule&, MatrixView<std::int32_t>);

}  // namespace conclave::gating
