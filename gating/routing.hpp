// SPDX-License-Identifier: BSD-3-Clause
// What a router decided for one group, checked: which expert serves which token with which weight, and who was dropped.
#pragma once

#include "runtime/core/error.hpp"
#include "runtime/core/function_ref.hpp"
#include "runtime/core/ids.hpp"
#include "runtime/core/options.hpp"

#include <array>
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

/// Why a token goes without an expert that it wanted, or without any.
enum class DropReason {
  over_capacity,   // the choice found its expert (and, re-routed, every other) full
  refused_second,  // a random policy turned the second choice down
  unchosen,        // no expert chose the token (expert choice); counted once a token, not a claim
};

inline constexpr std::array<EnumName<DropReason>, 3> enum_names(DropReason) {
  return {{{DropReason::over_capacity, "over_capacity"},
           {DropReason::refused_second, "refused_second"},
           {DropReason::unchosen, "unchosen"}}};
}

/// An entry of the drop ledger.
struct Drop {
  Index token = 0;   // within the group
  Index choice = 0;  // the choice that was lost; 0 for an unchosen token
  ExpertId expert;   // the expert that it asked for; -1 for an unchosen token
  DropReason reason = DropReason::over_capacity;
  friend bool operator==(const Drop&, const Drop&) = default;
};

/// What the router wanted and what did not fit.
struct RoutingCounts {
  std::vector<Index> load;  // [num_experts] claims before capacity, refused second choices included
  std::vector<Drop> drops;  // in the order of tokens, then choices
  Index rerouted = 0;       // choices served by another expert than the one they asked for

  [[nodiscard]] Index count(DropReason reason) const;
  /// Claims that got no slot.
  [[nodiscard]] Index dropped() const { return count(DropReason::over_capacity) + count(DropReason::refused_second); }
};

/// The routing of one group. Kept choices are ordered by token, then by choice.
template <class T>
class Routing {
 public:
  Routing() = default;
  /// Throws InvariantError unless the kept choices are in order, within range, and name no expert twice for a token,
  /// and every claim that is counted in the load was either kept or stands in the ledger.
  Routing(Index num_tokens, Index num_experts, std::vector<Assignment<T>> kept, RoutingCounts counts);

  /// Writes what was decided; finds no kept choices, no drops and a load of 0 for every expert.
  using Decide = FunctionRef<void(std::vector<Assignment<T>>& kept, RoutingCounts& counts)>;
  /// Another routing in the memory of this one, checked as above. Where this throws, it is not to be used.
  void assign(Index num_tokens, Index num_experts, Decide decide);

  [[nodiscard]] Index num_tokens() const { return static_cast<Index>(first_.size()) - 1; }
  [[nodiscard]] const std::vector<Assignment<T>>& kept() const { return kept_; }
  [[nodiscard]] std::span<const Assignment<T>> kept_of(Index token) const {
    const auto t = static_cast<std::size_t>(token);
    return std::span(kept_).subspan(static_cast<std::size_t>(first_[t]),
                                    static_cast<std::size_t>(first_[t + 1] - first_[t]));
  }
  [[nodiscard]] const RoutingCounts& counts() const { return counts_; }
  /// Tokens without a kept choice: the residual path alone carries them on.
  [[nodiscard]] Index num_unserved() const;

 private:
  void index(Index num_tokens, Index num_experts);

  std::vector<Assignment<T>> kept_;
  std::vector<Index> first_{0};  // [num_tokens + 1] where a token's kept choices begin
  RoutingCounts counts_;
};

}  // namespace conclave::gating
