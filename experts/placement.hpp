// SPDX-License-Identifier: BSD-3-Clause
// Which ranks host which expert, by how much is asked of each: loads -> placement.
#pragma once

#include "runtime/core/expert_map.hpp"

#include <span>
#include <vector>

namespace conclave::experts {

/// Experts on ranks, each on at least one. What is asked of an expert is shared out evenly among its hosts.
struct Placement {
  std::vector<std::vector<RankId>> hosts;  // [num_experts], ascending, each rank once
  Index num_ranks = 0;

  [[nodiscard]] Index num_experts() const { return std::ssize(hosts); }
  /// Copies of experts beyond the first of each.
  [[nodiscard]] Index num_replicas() const;
  /// The most experts that a rank hosts.
  [[nodiscard]] Index most_hosted() const;
  /// The same as a map.
  [[nodiscard]] ExpertMap map() const;
};

/// What a host of an expert has to do in a pass.
struct HostShare {
  double rows = 0.0;
  Index sums = 0;  // partial sums of the weights' gradient that it comes to
};
/// [num_hosts] of `rows` rows that come to an expert: shared out by segments (row_cut.hpp), of which few rows have one.
[[nodiscard]] std::vector<HostShare> host_shares(double rows, Index num_hosts);

/// What each rank has to do. loads: what is asked of each expert, in any unit. [num_ranks]
[[nodiscard]] std::vector<double> rank_loads(const Placement& placement, std::span<const double> loads);
/// The most loaded rank's load over the mean; 1: perfectly balanced; 1 too where nothing is asked.
[[nodiscard]] double imbalance(std::span<const double> rank_loads);

/// Even runs of experts (ExpertMap::contiguous), whatever they are asked.
[[nodiscard]] Placement contiguous_placement(Index num_experts, Index num_ranks);

/// Each expert on one rank, no rank with more than `slots` of them, so that the most loaded rank has little more to do
/// than it must: longest processing time first (Graham, SIAM J. Appl. Math. 17, 1969), then the moves and exchanges
/// that relieve the most loaded rank, until there are none. Never worse than contiguous_placement where that is
/// allowed. The same loads give the same placement. InputError if the ranks have too few slots; InvariantError for
/// loads that are negative or not finite.
[[nodiscard]] Placement balanced_placement(std::span<const double> loads, Index num_ranks, Index slots);

/// As balanced_placement, with up to `replicas` more copies, one after another, as DeepSeek-V3 (arXiv:2412.19437,
/// section 3.4) duplicates its hottest experts: of those whose hosts have most to do for them, the one with which the
/// most loaded rank has least to do. Fewer are made where more do not help.
[[nodiscard]] Placement replicated_placement(std::span<const double> loads, Index num_ranks, Index slots,
                                             Index replicas);

}  // namespace conclave::experts
