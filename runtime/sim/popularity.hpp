// SPDX-License-Identifier: BSD-3-Clause
// Which share of what a rank sends is for each other rank: uniform, one distribution for all ranks, or one for each.
#pragma once

#include "runtime/sim/traffic.hpp"

#include <string_view>

namespace conclave::sim {

class Popularity {
 public:
  [[nodiscard]] static Popularity uniform(Index num_ranks);
  /// Text of num_ranks weights, the same for every source, or of num_ranks lines of num_ranks weights, one a source; of
  /// each, only the ratio counts. A source whose weights are all zero sends nothing. InputError, beginning with
  /// `where`, for other numbers of weights, and for weights that are no numbers, negative or not finite.
  [[nodiscard]] static Popularity read(std::string_view text, Index num_ranks, std::string_view where);

  [[nodiscard]] Index num_ranks() const { return num_ranks_; }
  /// What rank d gets, its own share included, in units of what a rank sends. [num_ranks], of mean 1 at most.
  [[nodiscard]] std::vector<double> received() const;
  /// Every rank sends bytes_per_rank, less what is capped; what is for itself stays.
  [[nodiscard]] Traffic traffic(double bytes_per_rank) const;
  /// The same, but no rank gets more than `factor` times the mean: what is over is dropped, from all sources alike.
  [[nodiscard]] Popularity capped(double factor) const;

 private:
  explicit Popularity(Index num_ranks) : num_ranks_(num_ranks) {}
  void normalise(std::string_view where);

  Index num_ranks_;
  std::vector<double> shares_;  // [1 or num_ranks rows, num_ranks]
};

}  // namespace conclave::sim
