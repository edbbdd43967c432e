// SPDX-License-Identifier: BSD-3-Clause
// Which ranks host which expert. Shared by all who place experts, send to them, or store them.
#pragma once

#include "runtime/core/ids.hpp"

#include <vector>

namespace conclave {

/// An expert as one of its hosts has it.
struct HostedExpert {
  ExpertId id;
  Index host = 0;       // which of its hosts; 0: its home
  Index num_hosts = 1;  // that share out its rows
  [[nodiscard]] bool is_home() const { return host == 0; }
  friend bool operator==(const HostedExpert&, const HostedExpert&) = default;
};

/// Expert -> its hosts, for any number of experts and ranks; a rank may host none. An expert has at least one host; the
/// first owns it: it keeps the optimizer's state and the values that count (the expert's home). Other hosts are
/// replicas, which compute a share of its rows. A rank's experts are ordered by their global number.
class ExpertMap {
 public:
  /// Expert e on rank owners[e] alone. Throws InvariantError if an owner is not below num_ranks.
  ExpertMap(std::vector<RankId> owners, Index num_ranks);
  /// Expert e on the ranks hosts[e], which ascend. InvariantError if it has none, or they do not, or one is not below
  /// num_ranks.
  [[nodiscard]] static ExpertMap with_replicas(std::vector<std::vector<RankId>> hosts, Index num_ranks);
  /// Even contiguous shares (GShard's sharding); with fewer experts than ranks the last ranks hold none.
  [[nodiscard]] static ExpertMap contiguous(Index num_experts, Index num_ranks);

  [[nodiscard]] Index num_experts() const { return static_cast<Index>(hosts_.size()); }
  [[nodiscard]] Index num_ranks() const { return static_cast<Index>(experts_.size()); }
  [[nodiscard]] RankId owner(ExpertId expert) const { return hosts(expert).front(); }
  /// Ascending, the owner first.
  [[nodiscard]] const std::vector<RankId>& hosts(ExpertId expert) const {
    return hosts_[static_cast<std::size_t>(expert.value())];
  }
  /// The experts that have more than one host, ascending.
  [[nodiscard]] const std::vector<ExpertId>& replicated() const { return replicated_; }
  /// The experts that a rank computes, ascending, its own and replicas; LocalExpertId i is the i-th of them.
  [[nodiscard]] const std::vector<ExpertId>& experts_of(RankId rank) const {
    return experts_[static_cast<std::size_t>(rank.value())];
  }
  /// The same, each with the place that the rank has among its hosts.
  [[nodiscard]] std::vector<HostedExpert> hosted_by(RankId rank) const;
  /// Those of them that the rank is the home of, ascending.
  [[nodiscard]] std::vector<ExpertId> owned_by(RankId rank) const;
  /// All experts by owner, then by number.
  [[nodiscard]] const std::vector<ExpertId>& by_owner() const { return by_owner_; }

 private:
  ExpertMap(std::vector<std::vector<RankId>> hosts, std::size_t num_ranks);

  std::vector<std::vector<RankId>> hosts_;      // [num_experts][hosts of the expert]
  std::vector<std::vector<ExpertId>> experts_;  // [num_ranks][experts of the rank]
  std::vector<ExpertId> by_owner_;              // [num_experts]
  std::vector<ExpertId> replicated_;
};

}  // namespace conclave
