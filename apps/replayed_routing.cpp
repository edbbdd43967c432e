// SPDX-License-Identifier: BSD-3-Clause
#include "apps/replayed_routing.hpp"

#include "gating/capacity.hpp"
#include "gating/replayed_capacity.hpp"

#include <numeric>

namespace conclave::apps {
namespace {

using gating::RoutingSizes;
using gating::RoutingTrace;

void refuse_other_drops(const gating::RouterOptions& router) {
  if (router.overflow != gating::Overflow::drop) {
    throw InputError(fmt::format("overflow = {}: who is re-routed is not recorded", name_of(router.overflow)),
                     "replay other placements alone: leave --factors out");
  }
  if (router.router == "expert_choice") {
    throw InputError("router = expert_choice: experts take as many tokens as they have slots",
                     "replay other placements alone: leave --factors out");
  }
}

// By class of sources, how much of it each rank has; and whether each class is one rank's.
struct Sources {
  std::vector<std::vector<double>> share;  // [classes][ranks]
  bool is_exact = true;
};

Sources sources_of(const RoutingSizes& s, Index ranks) {
  Sources sources;
  for (Index c = 0; c < s.classes; ++c) {
    std::vector<double>& share = sources.share.emplace_back(static_cast<std::size_t>(ranks), 0.0);
    const Range of_class = even_share(s.groups, s.classes, c);
    for (Index rank = 0; rank < ranks; ++rank) {
      const Index common = intersection(even_share(s.groups, ranks, rank), of_class).size();
      if (common > 0 && common < of_class.size()) sources.is_exact = false;
      share[static_cast<std::size_t>(rank)] = static_cast<double>(common) / static_cast<double>(of_class.size());
    }
  }
  return sources;
}

void count_layer(const RoutingSizes& s, const gating::RoutingStep& step, Index layer, const Sources& sources,
                 Index mates, ReplayedPlacement& p) {
  for (Index c = 0; c < s.classes; ++c) {
    const std::vector<double>& share = sources.share[static_cast<std::size_t>(c)];
    for (Index e = 0; e < s.experts; ++e) {
      const auto rows = static_cast<double>(step.kept[static_cast<std::size_t>(s.place(layer, c, e))]);
      const std::vector<RankId>& hosts = p.placement.hosts[static_cast<std::size_t>(e)];
      const double of_host = rows / static_cast<double>(hosts.size());
      for (const RankId host : hosts) {
        const Index first_mate = host.value() / mates * mates;
        double of_node = 0.0;
        for (Index mate = first_mate; mate < std::min(p.ranks, first_mate + mates); ++mate) {
          of_node += share[static_cast<std::size_t>(mate)];
        }
        p.to_ranks += of_host * (1.0 - share[static_cast<std::size_t>(host.value())]);
        p.to_nodes += of_host * (1.0 - of_node);
      }
    }
  }
}

Index slots_of(const RoutingTrace& trace, const train::TrainOptions& o, double factor) {
  const gating::RouterOptions& router = o.model.router;
  const RoutingSizes& s = trace.sizes;
  const bool over_step = router.capacity_scope == gating::CapacityScope::step;
  return gating::expert_capacity(router.capacity_formula, factor, static_cast<double>(router.top_k),
                                 over_step ? s.groups * s.group_tokens : s.group_tokens, s.experts,
                                 router.min_capacity);
}

}  // namespace

ReplayedSlots replay_slots(const RoutingTrace& trace, const train::TrainOptions& o, double capacity_factor) {
  const gating::RouterOptions& router = o.model.router;
  refuse_other_drops(router);
  ReplayedSlots replayed{capacity_factor, slots_of(trace, o, capacity_factor)};
  const auto steps = static_cast<double>(trace.steps.size());
  for (const gating::RoutingStep& step : trace.steps) {
    const auto dropped = [&](gating::ClaimSpread spread) {
      return static_cast<double>(
          gating::dropped(with_slots(trace.sizes, step, replayed.slots, router.capacity_scope, spread)));
    };
    replayed.claimed +=
        static_cast<double>(std::accumulate(step.claimed.begin(), step.claimed.end(), Index{0})) / steps;
    replayed.least_dropped += dropped(gating::ClaimSpread::even) / steps;
    replayed.most_dropped += dropped(gating::ClaimSpread::packed) / steps;
  }
  return replayed;
}

RoutingTrace trace_with_slots(const RoutingTrace& trace, const train::TrainOptions& o, Index slots) {
  RoutingTrace result{trace.sizes, {}};
  for (const gating::RoutingStep& step : trace.steps) {
    result.steps.push_back(
        with_slots(trace.sizes, step, slots, o.model.router.capacity_scope, gating::ClaimSpread::even));
  }
  return result;
}

TraceHalves halves_of(const RoutingTrace& trace) {
  if (trace.steps.size() < 2) return {trace, trace};
  const auto middle = trace.steps.begin() + static_cast<std::ptrdiff_t>(trace.steps.size() / 2);
  return {{trace.sizes, {trace.steps.begin(), middle}}, {trace.sizes, {middle, trace.steps.end()}}};
}

std::vector<ReplayedPlacement> placements_for(const RoutingTrace& known, Index ranks,
                                              const std::vector<Index>& replicas) {
  const Index experts = known.sizes.experts;
  std::vector<double> loads(static_cast<std::size_t>(experts));
  for (const gating::RoutingStep& step : known.steps) {
    for (Index layer = 0; layer < known.sizes.layers; ++layer) {
      const std::vector<Index> rows = by_expert(known.sizes, step.kept, layer);
      for (std::size_t e = 0; e < rows.size(); ++e) loads[e] += static_cast<double>(rows[e]);
    }
  }
  const Index slots = (experts + ranks - 1) / ranks;
  std::vector<ReplayedPlacement> placements{{ranks, "contiguous", experts::contiguous_placement(experts, ranks)},
                                            {ranks, "balanced", experts::balanced_placement(loads, ranks, slots)}};
  for (const Index more : replicas) {
    const Index with_replicas = std::max(slots, (experts + more + ranks - 1) / ranks);
    experts::Placement placement = experts::replicated_placement(loads, ranks, with_replicas, more);
    const Index made = placement.num_replicas();
    placements.push_back({ranks, fmt::format("balanced, {} replicas", made), std::move(placement)});
  }
  return placements;
}

void count_rows(const RoutingTrace& told, Index ranks_per_node, ReplayedPlacement& p) {
  const RoutingSizes& s = told.sizes;
  const Sources sources = sources_of(s, p.ranks);
  p.is_exact = sources.is_exact && p.placement.num_replicas() == 0;
  for (const gating::RoutingStep& step : told.steps) {
    for (Index layer = 0; layer < s.layers; ++layer) {
      count_layer(s, step, layer, sources, ranks_per_node, p);
      std::vector<double> rows;
      for (const Index of_expert : by_expert(s, step.kept, layer)) rows.push_back(static_cast<double>(of_expert));
      const double over = experts::imbalance(experts::rank_loads(p.placement, rows));
      p.mean_over += over / static_cast<double>(s.layers * std::ssize(told.steps));
      p.most_over = std::max(p.most_over, over);
    }
  }
  p.to_ranks /= static_cast<double>(told.steps.size());
  p.to_nodes /= static_cast<double>(told.steps.size());
}

RankTraffic traffic_between(const RoutingTrace& told, Index ranks) {
  const RoutingSizes& s = told.sizes;
  const Sources sources = sources_of(s, ranks);
  const ExpertMap map = ExpertMap::contiguous(s.experts, ranks);
  RankTraffic traffic{ranks, std::vector<double>(static_cast<std::size_t>(ranks * ranks), 0.0), sources.is_exact};
  for (Index c = 0; c < s.classes; ++c) {
    for (Index e = 0; e < s.experts; ++e) {
      double rows = 0.0;
      for (const gating::RoutingStep& step : told.steps) {
        for (Index layer = 0; layer < s.layers; ++layer) {
          rows += static_cast<double>(step.kept[static_cast<std::size_t>(s.place(layer, c, e))]);
        }
      }
      rows /= static_cast<double>(told.steps.size());
      const Index to = map.owner(ExpertId{e}).value();
      for (Index from = 0; from < ranks; ++from) {
        traffic.rows[static_cast<std::size_t>(from * ranks + to)] +=
            rows * sources.share[static_cast<std::size_t>(c)][static_cast<std::size_t>(from)];
      }
    }
  }
  return traffic;
}

}  // namespace conclave::apps
