// SPDX-License-Identifier: BSD-3-Clause
// Which rank hosts which expert. Shared by all who place experts, send to them, or store them.
#pragma once

#include "runtime/core/ids.hpp"

#include <vector>

namespace conclave {

/// Expert -> rank, for any number of experts and ranks; a rank may hold none. A rank's experts are ordered by their
/// global number.
class ExpertMap {
 public:
  /// Expert e on rank owners[e]. Throws InvariantError if an owner is not below num_ranks.
  ExpertMap(std::vector<RankId> owners, Index num_ranks);
  /// Even contiguous shares (GShard's sharding); with fewer experts than ranks the last ranks hold none.
  [[nodiscard]] static ExpertMap contiguous(Index num_experts, Index num_ranks);

  [[nodiscard]] Index num_experts() const { return static_cast<Index>(owners_.size()); }
  [[nodiscard]] Index num_ranks() const { return static_cast<Index>(experts_.size()); }
  [[nodiscard]] RankId owner(ExpertId expert) const { return owners_[static_cast<std::size_t>(expert.value())]; }
  /// The experts of a rank, ascending; LocalExpertId i is the i-th of them.
  [[nodiscard]] const std::vector<ExpertId>& experts_of(RankId rank) const {
    return experts_[static_cast<std::size_t>(rank.value())];
  }
  /// All experts by owner, then by number: the order in which rows are laid out for sending.
  [[nodiscard]] const std::vector<ExpertId>& by_owner() const { return by_owner_; }

 private:
  std::vector<RankId> owners_;                  // [num_experts]
  std::vector<std::vector<ExpertId>> experts_;  // [num_ranks][experts of the rank]
  std::vector<ExpertId> by_owner_;              // [num_experts]
};

}  // namespace conclave
