// SPDX-License-Identifier: BSD-3-Clause
// Who sends how many bytes to whom, without a table of all pairs of ranks.
#pragma once

#include "runtime/core/function_ref.hpp"
#include "runtime/core/ids.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace conclave::sim {

/// One affinity class of sources: rank s sends sent[s] * popularity[d] bytes to rank d. Both [num_ranks]. With a block,
/// ranks s and d are of the same run of so many ranks (0 ... block - 1, and so on): what the ranks of a node have for
/// one another beyond what they have for everybody.
struct TrafficTerm {
  std::vector<double> sent;
  std::vector<double> popularity;
  Index block = 0;  // 0: no block, all ranks
};

/// Bytes from one rank to another.
struct Pair {
  std::uint32_t from = 0;
  std::uint32_t to = 0;
  double bytes = 0.0;
};

/// T = sum_c sent_c popularity_c^T + pairs: the bytes from each rank to each other. What a rank has for itself is not
/// sent and does not count. A routing trace gives few terms: one a class of sources that like the same experts.
/// Matrices of few ranks are pairs.
class Traffic {
 public:
  explicit Traffic(Index num_ranks) : num_ranks_(num_ranks) {}
  /// Every rank sends bytes_per_rank, in equal shares for all ranks, itself included.
  [[nodiscard]] static Traffic uniform(Index num_ranks, double bytes_per_rank);

  /// InvariantError for sizes other than num_ranks, blocks that do not divide it, and for bytes that are negative or
  /// not finite.
  void add(TrafficTerm term);
  void add(Pair pair);

  [[nodiscard]] Index num_ranks() const { return num_ranks_; }
  [[nodiscard]] const std::vector<TrafficTerm>& terms() const { return terms_; }
  [[nodiscard]] const std::vector<Pair>& pairs() const { return pairs_; }
  /// What terms and pairs say of two different ranks; 0 of a rank and itself. Costs O(terms + log pairs).
  [[nodiscard]] double bytes(RankId from, RankId to) const;
  /// All bytes that are sent. Costs O(terms * ranks + pairs).
  [[nodiscard]] double total_bytes() const;
  /// At most so many ordered pairs of ranks have something to send.
  [[nodiscard]] Index most_flows() const;
  /// Calls body once for every ordered pair of different ranks with bytes > 0, ascending.
  void for_each(FunctionRef<void(const Pair&)> body) const;

  /// What was received is sent back: combine after dispatch.
  [[nodiscard]] Traffic transposed() const;
  [[nodiscard]] Traffic scaled(double factor) const;
  /// The same as pairs alone: for few ranks.
  [[nodiscard]] Traffic as_pairs() const;

 private:
  [[nodiscard]] double bytes_of_terms(Index from, Index to) const;
  void for_each_from(std::uint32_t from, std::span<const Pair> row, FunctionRef<void(const Pair&)> body) const;

  Index num_ranks_;
  std::vector<TrafficTerm> terms_;
  std::vector<Pair> pairs_;  // ascending by (from, to), each pair of ranks once
};

}  // namespace conclave::sim
