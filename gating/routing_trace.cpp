// SPDX-License-Identifier: BSD-3-Clause
#include "gating/routing_trace.hpp"

#include "runtime/core/error.hpp"

namespace conclave::gating {

// Of G groups in C even shares of which the first G mod C have one more.
Index source_class(const RoutingSizes& s, GroupId group) {
  const Index base = s.groups / s.classes;
  const Index extra = s.groups % s.classes;
  const Index in_large = extra * (base + 1);
  return group.value() < in_large ? group.value() / (base + 1) : extra + (group.value() - in_large) / base;
}

void check(const RoutingSizes& s) {
  invariant(s.layers >= 1 && s.experts >= 1 && s.groups >= 1 && s.group_tokens >= 1 && s.classes >= 1 &&
                s.classes <= s.groups && s.layers <= largest_size && s.experts <= largest_size &&
                s.groups <= largest_size && s.group_tokens <= largest_size && s.classes <= most_source_classes,
            "a routing trace of {} layers of {} experts, {} groups of {} tokens in {} classes", s.layers, s.experts,
            s.groups, s.group_tokens, s.classes);
}

void check(const RoutingSizes& s, const RoutingStep& step) {
  for (const std::vector<Index>* counts : {&step.claimed, &step.kept}) {
    invariant(std::ssize(*counts) == s.counts(), "{} counts of {} layers, {} classes and {} experts", counts->size(),
              s.layers, s.classes, s.experts);
    for (const Index count : *counts) {
      invariant(count >= 0 && count <= s.groups * s.group_tokens, "{} rows of {} tokens for an expert", count,
                s.groups * s.group_tokens);
    }
  }
}

std::vector<Index> by_expert(const RoutingSizes& s, std::span<const Index> counts, Index layer) {
  std::vector<Index> sums(static_cast<std::size_t>(s.experts), 0);
  for (Index c = 0; c < s.classes; ++c) {
    for (Index e = 0; e < s.experts; ++e) {
      sums[static_cast<std::size_t>(e)] += counts[static_cast<std::size_t>(s.place(layer, c, e))];
    }
  }
  return sums;
}

}  // namespace conclave::gating
