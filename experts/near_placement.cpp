// SPDX-License-Identifier: BSD-3-Clause
#include "experts/near_placement.hpp"

#include "runtime/core/at.hpp"
#include "runtime/core/error.hpp"

#include <algorithm>
#include <numeric>

namespace conclave::experts {
namespace {

/// What speaks for a place: rows first, then experts that stay.
struct Worth {
  double rows = 0.0;
  Index stay = 0;
  friend auto operator<=>(const Worth&, const Worth&) = default;
};

// Each of `parts` gets one of the places, of which there are room[p] each, best pairs first.
std::vector<Index> assigned(const std::vector<std::vector<Worth>>& worth, std::vector<Index> room) {
  struct Choice {
    Worth worth;
    Index part;
    Index place;
  };
  std::vector<Choice> choices;
  for (Index part = 0; part < std::ssize(worth); ++part) {
    for (Index place = 0; place < std::ssize(room); ++place) {
      choices.push_back({worth[at(part)][at(place)], part, place});
    }
  }
  // Equal ones by their numbers: each part where it is.
  std::ranges::stable_sort(choices, [](const Choice& a, const Choice& b) {
    if (a.worth != b.worth) return a.worth > b.worth;
    return (a.part == a.place) > (b.part == b.place);
  });
  constexpr Index nowhere = -1;
  std::vector<Index> place_of(worth.size(), nowhere);
  for (const Choice& c : choices) {
    if (place_of[at(c.part)] != nowhere || room[at(c.place)] == 0) continue;
    place_of[at(c.part)] = c.place;
    --room[at(c.place)];
  }
  return place_of;
}

std::vector<std::vector<ExpertId>> experts_by_rank(const Placement& placement) {
  std::vector<std::vector<ExpertId>> of_rank(at(placement.num_ranks));
  for (ExpertId e; e < ExpertId{placement.num_experts()}; ++e) {
    for (const RankId host : placement.hosts[at(e.value())]) of_rank[at(host.value())].push_back(e);
  }
  return of_rank;
}

class Nearness {
 public:
  Nearness(const Placement& placement, const Placement& present, Index ranks_per_node, RowsOfRank rows)
      : placement_(placement),
        present_(present),
        mates_(ranks_per_node),
        experts_(experts_by_rank(placement)),
        rows_(at(placement.num_ranks)) {
    for (RankId rank; rank < RankId{placement.num_ranks}; ++rank) {
      for (ExpertId e; e < ExpertId{placement.num_experts()}; ++e) {
        const double shared_by = static_cast<double>(std::ssize(placement.hosts[at(e.value())]));
        rows_[at(rank.value())].push_back(rows(rank, e) / shared_by);
      }
    }
  }

  /// [ranks] the rank that each rank's experts go to.
  [[nodiscard]] std::vector<RankId> ranks() const {
    const Index nodes = placement_.num_ranks / mates_;
    const std::vector<Index> node_of = assigned(worth_of_nodes(nodes), std::vector<Index>(at(nodes), mates_));
    std::vector<RankId> result(at(placement_.num_ranks));
    for (Index node = 0; node < nodes; ++node) {
      std::vector<Index> parts;
      for (Index part = 0; part < placement_.num_ranks; ++part) {
        if (node_of[at(part)] == node) parts.push_back(part);
      }
      std::vector<std::vector<Worth>> worth;
      for (const Index part : parts) {
        worth.emplace_back();
        for (Index mate = 0; mate < mates_; ++mate) {
          worth.back().push_back(worth_of(part, {node * mates_ + mate, node * mates_ + mate + 1}));
        }
      }
      const std::vector<Index> mate_of = assigned(worth, std::vector<Index>(at(mates_), 1));
      for (std::size_t i = 0; i < parts.size(); ++i) result[at(parts[i])] = RankId{node * mates_ + mate_of[i]};
    }
    return result;
  }

 private:
  // Of a part of the experts on one of these ranks.
  [[nodiscard]] Worth worth_of(Index part, Range ranks) const {
    Worth worth;
    for (const ExpertId e : experts_[at(part)]) {
      for (Index rank = ranks.begin; rank < ranks.end; ++rank) {
        worth.rows += rows_[at(rank)][at(e.value())];
        worth.stay += std::ranges::count(present_.hosts[at(e.value())], RankId{rank});
      }
    }
    return worth;
  }

  [[nodiscard]] std::vector<std::vector<Worth>> worth_of_nodes(Index nodes) const {
    std::vector<std::vector<Worth>> worth(at(placement_.num_ranks));
    for (Index part = 0; part < placement_.num_ranks; ++part) {
      for (Index node = 0; node < nodes; ++node) {
        worth[at(part)].push_back(worth_of(part, {node * mates_, (node + 1) * mates_}));
      }
    }
    return worth;
  }

  const Placement& placement_;
  const Placement& present_;
  Index mates_;
  std::vector<std::vector<ExpertId>> experts_;  // [ranks]
  std::vector<std::vector<double>> rows_;       // [ranks][experts] that a host of the expert gets from the rank
};

}  // namespace

Placement moved_near(const Placement& placement, const Placement& present, Index ranks_per_node, RowsOfRank rows) {
  invariant(placement.num_ranks == present.num_ranks && placement.num_experts() == present.num_experts(),
            "placements of {} experts on {} ranks and of {} on {}", placement.num_experts(), placement.num_ranks,
            present.num_experts(), present.num_ranks);
  invariant(ranks_per_node >= 1 && placement.num_ranks % ranks_per_node == 0, "{} ranks on nodes of {}",
            placement.num_ranks, ranks_per_node);
  const std::vector<RankId> moved = Nearness(placement, present, ranks_per_node, rows).ranks();
  Placement result = placement;
  for (std::vector<RankId>& hosts : result.hosts) {
    for (RankId& host : hosts) host = moved[at(host.value())];
    std::ranges::sort(hosts);
  }
  return result;
}

Placement balanced_within_nodes(std::span<const double> loads, const Placement& present, Index ranks_per_node,
                                Index slots) {
  invariant(present.num_experts() == std::ssize(loads), "loads of {} experts for a placement of {}", loads.size(),
            present.num_experts());
  Placement result{std::vector<std::vector<RankId>>(loads.size()), present.num_ranks};
  for (Index node = 0; node < present.num_ranks / ranks_per_node; ++node) {
    std::vector<std::size_t> here;
    std::vector<double> loads_here;
    for (std::size_t e = 0; e < loads.size(); ++e) {
      if (present.hosts[e].front().value() / ranks_per_node != node) continue;
      here.push_back(e);
      loads_here.push_back(loads[e]);
    }
    const Placement of_node = balanced_placement(loads_here, ranks_per_node, slots);
    for (std::size_t i = 0; i < here.size(); ++i) {
      result.hosts[here[i]] = {RankId{node * ranks_per_node + of_node.hosts[i].front().value()}};
    }
  }
  return result;
}

}  // namespace conclave::experts
