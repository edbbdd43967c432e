// SPDX-License-Identifier: BSD-3-Clause
// Where a run's tokens went: counts of a step's choices by layer, source and expert. What simulations of other machines
// need to know of a router.
#pragma once

#include "runtime/core/ids.hpp"

#include <span>
#include <vector>

namespace conclave::gating {

/// The sizes that counts refer to. Sources are classes: even contiguous shares of a step's groups.
struct RoutingSizes {
  Index layers = 0;   // MoE layers
  Index experts = 0;  // of each
  Index groups = 0;   // of a step, over all passes
  Index group_tokens = 0;
  Index classes = 0;  // at most groups

  [[nodiscard]] Index counts() const { return layers * classes * experts; }
  [[nodiscard]] Index place(Index layer, Index source, Index expert) const {
    return (layer * classes + source) * experts + expert;
  }
  friend bool operator==(const RoutingSizes&, const RoutingSizes&) = default;
};

/// The most classes that sources are told apart by: enough to see that some like other experts, and a few kB a step.
inline constexpr Index most_source_classes = 8;

/// The class of a group.
[[nodiscard]] Index source_class(const RoutingSizes& sizes, GroupId group);

/// One step. Both [layers, classes, experts]. claimed: choices before capacity, by the expert asked for; kept: rows, by
/// the expert that serves them.
struct RoutingStep {
  Index step = 0;  // steps done, this one included
  std::vector<Index> claimed{};
  std::vector<Index> kept{};
  friend bool operator==(const RoutingStep&, const RoutingStep&) = default;
};

struct RoutingTrace {
  RoutingSizes sizes{};
  std::vector<RoutingStep> steps{};
  friend bool operator==(const RoutingTrace&, const RoutingTrace&) = default;
};

/// InvariantError for sizes that no trace has, and for a step whose counts are not of these sizes, are negative, or say
/// that an expert of a layer kept more than all tokens.
void check(const RoutingSizes& sizes);
void check(const RoutingSizes& sizes, const RoutingStep& step);

/// Over all classes: of one layer and step, [experts].
[[nodiscard]] std::vector<Index> by_expert(const RoutingSizes& sizes, std::span<const Index> counts, Index layer);

}  // namespace conclave::gating
