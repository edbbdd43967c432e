// SPDX-License-Identifier: BSD-3-Clause
// What a router decided for one group, checked: which expert serves which token with which weight, and who was dropped.
#pragma once

#include "runtime/core/error.hpp"
#include "runtime/core/ids.hpp"

#include <span>
#include <vector>

namespace conclave::gating {

/// A choice that got a slot: the expert's output enters the token's sum with weight `gate`.
template <class T>
struct Assignment {
  Index token = 0;  // within the group
  ExpertId expert;
  Index choice = 0;  // the token's choice number, 0 = best
  T gate{};
  friend bool operator==(const Assignment&, const Assignment&) = default;
};

/// What the router wanted and what did not fit.
struct RoutingCounts {
  std::vector<Index> load;   // [num_experts] claims before capacity, refused second choices included
  Index over_capacity = 0;   // choices that found their expert (and, re-routed, every other) full
  Index refused_second = 0;  // second choices that GShard's random policy turned down
  [[nodiscard]] Index dropped() const { return over_capacity + refused_second; }
};

/// The routing of one group. Kept choices are ordered by token, then by choice.
template <class T>
class Routing {
 public:
  Routing() = default;
  /// Throws InvariantError unless the kept choices are in order, within range, and name no expert twice for a token.
  Routing(Index num_tokens, Index num_experts, std::vector<Assignment<T>> kept, RoutingCounts counts);

  [[nodiscard]] Index num_tokens() const { return static_cast<Index>(first_.size()) - 1; }
  [[nodiscard]] const std::vector<Assignment<T>>& kept() const { return kept_; }
  [[nodiscard]] std::span<const Assignment<T>> kept_of(Index token) const {
    const auto t = static_cast<std::size_t>(token);
    return std::span(kept_).subspan(static_cast<std::size_t>(first_[t]),
                                    static_cast<std::size_t>(first_[t + 1] - first_[t]));
  }
  [[nodiscard]] const RoutingCounts& counts() const { return counts_; }

 private:
  std::vector<Assignment<T>> kept_;
  std::vector<Index> first_{0};  // [num_tokens + 1] where a token's kept choices begin
  RoutingCounts counts_;
};

}  // namespace conclave::gating
