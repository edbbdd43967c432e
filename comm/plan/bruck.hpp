// SPDX-License-Identifier: BSD-3-Clause
// The exchange of Bruck et al. (1997), for small messages: ceil(log2 P) messages a rank instead of P - 1. What goes to
// the rank that is i further on travels by the powers of two that i is made of; so every byte travels up to log2 P
// times.
#pragma once

#include "comm/plan/schedule.hpp"

namespace conclave::plan {

/// What one rank has for one other.
struct BruckBlock {
  RankId source;
  RankId destination;
};

/// A rank's mean message to a peer above which the exchange `auto` does not try this one: its detours cost more then.
inline constexpr Index most_bytes_of_bruck_message = 4096;

/// A message begins with the number of rows of each of its blocks, and is filled up to whole units.
inline constexpr Index bruck_unit_bytes = 64;

class BruckPlan {
 public:
  explicit BruckPlan(Index num_ranks);

  [[nodiscard]] Index num_rounds() const { return std::ssize(positions_); }
  /// A round's peers: 2^round ranks further on, and back.
  [[nodiscard]] RankId to(RankId rank, Index round) const { return moved(rank, Index{1} << round); }
  [[nodiscard]] RankId from(RankId rank, Index round) const { return moved(rank, -(Index{1} << round)); }
  /// The blocks of a round's message, by how far each has to go in all, its position: those with bit `round` set.
  [[nodiscard]] const std::vector<Index>& positions(Index round) const {
    return positions_[static_cast<std::size_t>(round)];
  }
  /// The block that a rank has at a position before a round: it has come the lower bits' way.
  [[nodiscard]] BruckBlock block(RankId rank, Index round, Index position) const;
  /// Bytes of a round's message with so many bytes of rows in all.
  [[nodiscard]] Index message_bytes(Index round, Index row_bytes) const;

 private:
  [[nodiscard]] RankId moved(RankId rank, Index by) const {
    return RankId{((rank.value() + by) % num_ranks_ + num_ranks_) % num_ranks_};
  }
  Index num_ranks_;
  std::vector<std::vector<Index>> positions_;  // [rounds][blocks]
};

/// A message every round, if only of counts. A rank's part for itself is in phase 0.
[[nodiscard]] std::vector<Step> bruck_schedule(const Topology& topology, const Traffic& traffic);

}  // namespace conclave::plan
