// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/step_model.hpp"

#include "comm/plan/pairwise.hpp"
#include "runtime/sim/rounds.hpp"

#include <algorithm>

namespace conclave::sim {
namespace {

struct GemmTime {
  double time_s = 0.0;
  Index rank = 0;  // the slowest
};

// A rank computes what it receives; `received` is in units of the mean.
GemmTime gemm_time(const Cluster& cluster, const std::vector<double>& received, double flops_per_rank) {
  GemmTime slowest;
  if (flops_per_rank == 0.0) return slowest;
  for (Index node = 0; node < cluster.nodes; ++node) {
    const double flops_per_s = cluster.flops_per_s(NodeId{node});
    const Range ranks = cluster.ranks_of(NodeId{node});
    for (Index rank = ranks.begin; rank < ranks.end; ++rank) {
      const double time_s = flops_per_rank * received[static_cast<std::size_t>(rank)] / flops_per_s;
      if (time_s > slowest.time_s) slowest = {time_s, rank};
    }
  }
  return slowest;
}

double kept_share(const std::vector<double>& before, const std::vector<double>& after) {
  double all = 0.0;
  double kept = 0.0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    all += before[i];
    kept += after[i];
  }
  return all == 0.0 ? 1.0 : kept / all;
}

// Of W waves, each dispatched in d and computed in g: the next is on its way while one is computed.
double overlapped_s(Index waves, double d, double g) { return d + static_cast<double>(waves - 1) * std::max(d, g) + g; }

// All-reduce in a ring (Patarasuk and Yuan, J. Parallel Distrib. Comput. 69, 2009): scatter the sums, gather them, P -
// 1 rounds each, all alike. A message waits for both its ranks, so the slowest of a round sets the pace of all.
ExchangePrice price_ring(const Network& network, double bytes) {
  const Index ranks = network.num_ranks();
  if (ranks == 1 || bytes == 0.0) return {.phases = {{"reduce", 0.0}}, .tier = Tier::rounds};
  std::vector<Pair> messages;
  for (RankId rank; rank < RankId{ranks}; ++rank) {
    messages.push_back({static_cast<std::uint32_t>(rank.value()),
                        static_cast<std::uint32_t>(plan::cyclic_round(ranks, rank, 1).to.value()),
                        bytes / static_cast<double>(ranks)});
  }
  RoundClock clock(network);
  clock.advance(messages);
  const double time_s = 2.0 * static_cast<double>(ranks - 1) * clock.time_s();
  return {time_s, {{"reduce", time_s}}, network.name(clock.busiest_resource()), Tier::rounds, {}, 0.0};
}

ExchangePrice price_direct(const Network& network, double bytes, Tier tier) {
  ExchangePrice price = price_exchange(network, Traffic::uniform(network.num_ranks(), bytes),
                                       {Strategy::flat, tier == Tier::rounds ? Tier::automatic : tier});
  price.time_s *= 2.0;  // there and back
  price.phases = {{"reduce", price.time_s}};
  return price;
}

}  // namespace

void describe(StepOptions& o, OptionTable& table) {
  table.add("bytes_per_rank", o.bytes_per_rank,
            "bytes of the rows that a rank dispatches, of which it keeps its share");
  table.add("flops_per_rank", o.flops_per_rank, "floating-point operations of the experts, on average over ranks");
  table.add("waves", o.waves, "parts that are dispatched and computed one after another, overlapping");
  table.add("capacity_factor", o.capacity_factor, "no rank gets more than so many times the mean; 0: no limit");
  table.add("gradient_bytes", o.gradient_bytes, "bytes of each rank's gradients that are summed over ranks");
  table.add("reduce", o.reduce, "how they are summed: in a ring, or each part directly to the rank that sums it");
}

void validate(const StepOptions& o) {
  expect_amount("bytes_per_rank", o.bytes_per_rank);
  expect_amount("flops_per_rank", o.flops_per_rank);
  expect_amount("capacity_factor", o.capacity_factor);
  expect_amount("gradient_bytes", o.gradient_bytes);
  if (o.waves < 1) throw InputError(fmt::format("waves = {}", o.waves), "give at least 1");
}

ExchangePrice price_reduction(const Network& network, double bytes, Reduce reduce, Tier tier) {
  return reduce == Reduce::ring ? price_ring(network, bytes) : price_direct(network, bytes, tier);
}

StepPrice price_step(const Network& network, const Popularity& popularity, const StepOptions& o) {
  validate(o);
  const Popularity kept = o.capacity_factor > 0.0 ? popularity.capped(o.capacity_factor) : popularity;
  const std::vector<double> received = kept.received();
  const auto waves = static_cast<double>(o.waves);
  const Traffic dispatched = kept.traffic(o.bytes_per_rank);
  const ExchangePrice dispatch = price_exchange(network, dispatched.scaled(1.0 / waves), o.exchange);
  const GemmTime gemm = gemm_time(network.cluster(), received, o.flops_per_rank);
  const ExchangePrice combine = price_exchange(network, dispatched.transposed(), o.exchange);
  const ExchangePrice reduction = price_reduction(network, o.gradient_bytes, o.reduce, o.exchange.tier);

  StepPrice price;
  price.phases = {{"dispatch", waves * dispatch.time_s},
                  {"gemm", gemm.time_s},
                  {"combine", combine.time_s},
                  {"reduce", reduction.time_s}};
  const double overlapping_s = overlapped_s(o.waves, dispatch.time_s, gemm.time_s / waves);
  price.time_s = overlapping_s + combine.time_s + reduction.time_s;
  price.hidden_s = waves * dispatch.time_s + gemm.time_s - overlapping_s;
  price.dropped = 1.0 - kept_share(popularity.received(), received);
  price.tier = dispatch.tier;
  const std::array<std::string, 4> limits{dispatch.bottleneck, fmt::format("rank {}", gemm.rank), combine.bottleneck,
                                          reduction.bottleneck};
  const auto longest = std::max_element(price.phases.begin(), price.phases.end(),
                                        [](const auto& a, const auto& b) { return a.time_s < b.time_s; });
  if (longest->time_s > 0.0) {
    price.bottleneck =
        fmt::format("{}: {}", longest->name, limits[static_cast<std::size_t>(longest - price.phases.begin())]);
  }
  return price;
}

}  // namespace conclave::sim
