// SPDX-License-Identifier: BSD-3-Clause
#include "experts/placement.hpp"

#include "experts/row_cut.hpp"
#include "runtime/core/reduction_tree.hpp"

#include "runtime/core/at.hpp"
#include "runtime/core/error.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

namespace conclave::experts {
namespace {

/// Copies of experts being placed.
class Packing {
 public:
  Packing(std::span<const double> loads, const std::vector<Index>& copies, Index num_ranks, Index slots)
      : loads_(loads), copies_(copies), slots_(slots), hosted_(at(num_ranks)), load_(at(num_ranks)) {}

  /// Longest first, each copy to the least loaded rank that may have it. False if one finds no place.
  [[nodiscard]] bool place_all() {
    std::vector<Index> order(loads_.size());
    std::iota(order.begin(), order.end(), Index{0});
    std::ranges::stable_sort(order, [&](Index a, Index b) { return share(a) > share(b); });
    for (const Index expert : order) {
      for (Index copy = 0; copy < copies_[at(expert)]; ++copy) {
        const std::optional<Index> rank = least_loaded_for(expert);
        if (!rank) return false;
        add(expert, *rank);
      }
    }
    return true;
  }

  /// Moves and exchanges of copies, each the best there is for the most loaded rank and the other one of it.
  void improve() {
    while (relieve(std::ranges::max_element(load_) - load_.begin())) {
    }
  }

  [[nodiscard]] double most_loaded() const { return *std::ranges::max_element(load_); }
  [[nodiscard]] Placement placement() const {
    Placement result{std::vector<std::vector<RankId>>(loads_.size()), std::ssize(hosted_)};
    for (Index rank = 0; rank < std::ssize(hosted_); ++rank) {
      for (const Index expert : hosted_[at(rank)]) result.hosts[at(expert)].emplace_back(rank);
    }
    return result;
  }

 private:
  static constexpr Index nothing = -1;
  struct Trade {
    Index given = nothing;
    Index taken = nothing;  // nothing: a move
    Index with = nothing;   // rank
    double most = 0.0;      // of both ranks, afterwards
  };

  // What each host of an expert has to do for it.
  [[nodiscard]] double share(Index expert) const {
    return expert == nothing ? 0.0 : loads_[at(expert)] / static_cast<double>(copies_[at(expert)]);
  }
  [[nodiscard]] bool hosts(Index rank, Index expert) const { return std::ranges::count(hosted_[at(rank)], expert) > 0; }
  [[nodiscard]] bool has_room(Index rank) const { return std::ssize(hosted_[at(rank)]) < slots_; }

  [[nodiscard]] std::optional<Index> least_loaded_for(Index expert) const {
    std::optional<Index> best;
    for (Index rank = 0; rank < std::ssize(hosted_); ++rank) {
      if (!has_room(rank) || (best && load_[at(rank)] >= load_[at(*best)]) || hosts(rank, expert)) continue;
      best = rank;
    }
    return best;
  }

  void add(Index expert, Index rank) {
    hosted_[at(rank)].push_back(expert);
    sum_up(rank);
  }
  void remove(Index expert, Index rank) {
    std::erase(hosted_[at(rank)], expert);
    sum_up(rank);
  }
  // Anew, so that loads do not drift from what they are the sums of.
  void sum_up(Index rank) {
    load_[at(rank)] = 0.0;
    for (const Index expert : hosted_[at(rank)]) load_[at(rank)] += share(expert);
  }

  void consider(Index rank, Index given, Index taken, Index with, Trade& best) const {
    const double difference = share(given) - share(taken);
    if (difference <= 0.0 || hosts(with, given) || (taken != nothing && hosts(rank, taken))) return;
    const double most = std::max(load_[at(rank)] - difference, load_[at(with)] + difference);
    if (most < best.most) best = {given, taken, with, most};
  }

  [[nodiscard]] bool relieve(Index rank) {
    // Less by so little is rounding, and could go on for ever.
    Trade best{.most = load_[at(rank)] * (1.0 - 1e-9)};
    for (Index other = 0; other < std::ssize(hosted_); ++other) {
      if (other == rank) continue;
      for (const Index given : hosted_[at(rank)]) {
        if (has_room(other)) consider(rank, given, nothing, other, best);
        for (const Index taken : hosted_[at(other)]) consider(rank, given, taken, other, best);
      }
    }
    if (best.given == nothing) return false;
    remove(best.given, rank);
    if (best.taken != nothing) {
      remove(best.taken, best.with);
      add(best.taken, rank);
    }
    add(best.given, best.with);
    return true;
  }

  std::span<const double> loads_;
  const std::vector<Index>& copies_;
  Index slots_;
  std::vector<std::vector<Index>> hosted_;  // [ranks]
  std::vector<double> load_;                // [ranks]
};

void check(std::span<const double> loads, Index num_ranks, Index slots) {
  invariant(num_ranks >= 1, "experts on {} ranks", num_ranks);
  for (const double load : loads) invariant(std::isfinite(load) && load >= 0.0, "a load of {}", load);
  if (slots * num_ranks >= std::ssize(loads)) return;
  throw InputError(fmt::format("{} experts on {} ranks of {} slots", loads.size(), num_ranks, slots),
                   fmt::format("give each rank at least {}", (std::ssize(loads) + num_ranks - 1) / num_ranks));
}

struct Found {
  Placement placement;
  double most = 0.0;  // the most loaded rank's
};

std::optional<Found> packed(std::span<const double> loads, const std::vector<Index>& copies, Index num_ranks,
                            Index slots) {
  Packing packing(loads, copies, num_ranks, slots);
  if (!packing.place_all()) return std::nullopt;
  packing.improve();
  return Found{packing.placement(), packing.most_loaded()};
}

Found balanced(std::span<const double> loads, Index num_ranks, Index slots) {
  check(loads, num_ranks, slots);
  const std::vector<Index> one_each(loads.size(), 1);
  Found best = packed(loads, one_each, num_ranks, slots).value();
  const Placement contiguous = contiguous_placement(std::ssize(loads), num_ranks);
  const double most = std::ranges::max(rank_loads(contiguous, loads));
  if (most < best.most && contiguous.most_hosted() <= slots) best = {contiguous, most};
  return best;
}

// Some experts whose hosts have most to do for them, of those that more ranks may host; hottest first.
std::vector<std::size_t> hottest(std::span<const double> loads, const std::vector<Index>& copies, Index num_ranks) {
  constexpr std::size_t most = 4;
  std::vector<std::size_t> experts;
  for (std::size_t e = 0; e < loads.size(); ++e) {
    if (copies[e] < num_ranks) experts.push_back(e);
  }
  const auto share = [&](std::size_t e) { return loads[e] / static_cast<double>(copies[e]); };
  const auto end = experts.begin() + static_cast<std::ptrdiff_t>(std::min(most, experts.size()));
  std::ranges::partial_sort(
      experts, end, [&](std::size_t a, std::size_t b) { return std::pair(-share(a), a) < std::pair(-share(b), b); });
  experts.erase(end, experts.end());
  return experts;
}

}  // namespace

Index Placement::num_replicas() const {
  Index copies = 0;
  for (const auto& of_expert : hosts) copies += std::ssize(of_expert) - 1;
  return copies;
}

Index Placement::most_hosted() const {
  std::vector<Index> hosted(at(num_ranks));
  for (const auto& of_expert : hosts) {
    for (const RankId rank : of_expert) ++hosted[at(rank.value())];
  }
  return hosted.empty() ? 0 : std::ranges::max(hosted);
}

ExpertMap Placement::map() const { return ExpertMap::with_replicas(hosts, num_ranks); }

std::vector<HostShare> host_shares(double rows, Index num_hosts) {
  const RowCut cut(std::max<Index>(1, std::llround(rows)));
  std::vector<HostShare> shares;
  for (Index host = 0; host < num_hosts; ++host) {
    const Range segments = cut.segments_of_host(host, num_hosts);
    const double share = static_cast<double>(cut.rows_of(segments).size()) / static_cast<double>(cut.rows());
    shares.push_back({share * rows, std::ssize(complete_subtrees(cut.num_segments(), segments))});
  }
  return shares;
}

std::vector<double> rank_loads(const Placement& placement, std::span<const double> loads) {
  invariant(placement.num_experts() == std::ssize(loads), "loads of {} experts for a placement of {}", loads.size(),
            placement.num_experts());
  std::vector<double> sums(at(placement.num_ranks));
  for (std::size_t e = 0; e < loads.size(); ++e) {
    const auto& hosts = placement.hosts[e];
    for (const RankId rank : hosts) sums[at(rank.value())] += loads[e] / static_cast<double>(hosts.size());
  }
  return sums;
}

double imbalance(std::span<const double> rank_loads) {
  const double sum = std::accumulate(rank_loads.begin(), rank_loads.end(), 0.0);
  if (sum == 0.0) return 1.0;
  return std::ranges::max(rank_loads) * static_cast<double>(rank_loads.size()) / sum;
}

Placement contiguous_placement(Index num_experts, Index num_ranks) {
  const ExpertMap map = ExpertMap::contiguous(num_experts, num_ranks);
  Placement placement{{}, num_ranks};
  for (ExpertId e; e < ExpertId{num_experts}; ++e) placement.hosts.push_back({map.owner(e)});
  return placement;
}

Placement balanced_placement(std::span<const double> loads, Index num_ranks, Index slots) {
  return balanced(loads, num_ranks, slots).placement;
}

Placement replicated_placement(std::span<const double> loads, Index num_ranks, Index slots, Index replicas) {
  Found best = balanced(loads, num_ranks, slots);
  std::vector<Index> copies(loads.size(), 1);
  const Index most_replicas = std::min(replicas, slots * num_ranks - std::ssize(loads));
  for (Index made = 0; made < most_replicas; ++made) {
    std::optional<Found> step;
    std::size_t duplicated = 0;
    for (const std::size_t expert : hottest(loads, copies, num_ranks)) {
      ++copies[expert];
      std::optional<Found> found = packed(loads, copies, num_ranks, slots);
      --copies[expert];
      if (!found || (step && found->most >= step->most)) continue;
      step = std::move(found);
      duplicated = expert;
    }
    if (!step) break;
    ++copies[duplicated];
    if (step->most < best.most) best = std::move(*step);
  }
  return best.placement;
}

}  // namespace conclave::experts
