// SPDX-License-Identifier: BSD-3-Clause
// Experts whose rows have all come compute and send their results back while others still wait for rows. Where ranks
// send alike, links are as busy both ways and nothing is gained; where few ranks have tokens, results come back over
// their links' other direction.
#pragma once

#include "runtime/sim/cluster.hpp"
#include "runtime/sim/expected_max.hpp"
#include "runtime/sim/traffic.hpp"

#include <span>
#include <vector>

namespace conclave::sim {

/// A wave of experts.
struct WaveTimes {
  double in_s = 0.0;       // until all rows are there
  double experts_s = 0.0;  // of the rank that computes longest
  double out_s = 0.0;      // of all results on their way, nothing else being so
};

/// Where rows wait for the node that sends most, the ranks that it sends to share its link fairly: who wants fewer rows
/// has them earlier. Elsewhere all come at the same time. A result leaves when its rank has all its rows and has
/// computed them; the node that it leaves and the one that it comes back to pass on one after another.
class EarlyResults {
 public:
  /// None.
  EarlyResults() = default;
  /// rows: on their way in, in any unit, terms alone; expert_seconds: [num_ranks], in any unit, of which the means
  /// count.
  EarlyResults(const Cluster& cluster, const Traffic& rows, std::span<const Moments> expert_seconds);
  /// By how much a wave ends before in_s + experts_s + out_s; at most out_s. 0 on one node.
  [[nodiscard]] double seconds(const WaveTimes& wave) const;

 private:
  /// A rank with rows, by shares of a wave's times.
  struct Rank {
    double arrives = 1.0;    // of in_s
    double computes = 0.0;   // of experts_s
    double leaving = 0.0;    // of out_s: from its node
    double to_sender = 0.0;  // of out_s: from it alone, to the node that rows wait for; 0 where they wait for none
  };
  std::vector<Rank> ranks_;
};

}  // namespace conclave::sim
