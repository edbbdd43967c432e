// SPDX-License-Identifier: BSD-3-Clause
// What must hold of every price, on machines of every kind and mixed traffic.
#include <gtest/gtest.h>

#include <numeric>

#include "runtime/sim/bound.hpp"
#include "runtime/sim/exchange_model.hpp"
#include "tests/sim/clusters.hpp"

namespace conclave::sim {
namespace {

constexpr std::array<ExchangeOptions, 4> all_prices{{{Strategy::flat, Tier::bound},
                                                     {Strategy::flat, Tier::fluid},
                                                     {Strategy::pairwise, Tier::rounds},
                                                     {Strategy::hierarchical, Tier::rounds}}};

/// Calls body(network, traffic, options) for machines of more than one rank, by every strategy and tier.
template <class Body>
void for_each_price(Body body) {
  for (const Cluster& cluster : all_kinds()) {
    if (cluster.num_ranks() == 1) continue;
    for (const ExchangeOptions& options : all_prices) {
      SCOPED_TRACE(fmt::format("{}, {} {}", text_of(cluster), name_of(options.strategy), name_of(options.tier)));
      body(cluster, mixed_traffic(cluster, 4), options);
    }
  }
}

double time_s(const Cluster& cluster, const Traffic& traffic, const ExchangeOptions& options) {
  return price_exchange(Network(cluster), traffic, options).time_s;
}

Cluster without_latency(Cluster cluster) {
  cluster.latency_s = cluster.node_latency_s = cluster.fabric.link_latency_s = 0.0;
  return cluster;
}

Cluster faster(Cluster cluster, double factor) {
  for (double* bandwidth : {&cluster.nic_Bps, &cluster.node_bus_Bps, &cluster.fabric.link_Bps}) *bandwidth *= factor;
  return cluster;
}

TEST(Properties, WhatGoesOutComesIn) {
  for (const Cluster& cluster : all_kinds()) {
    if (cluster.fabric.kind == FabricKind::torus || cluster.nodes == 1) continue;
    SCOPED_TRACE(text_of(cluster));
    const Network network(cluster);
    const Traffic traffic = mixed_traffic(cluster);
    const Loads loads = network.loads(traffic);
    double out = 0.0;
    double in = 0.0;
    double within = 0.0;
    for (Index node = 0; node < cluster.nodes; ++node) {
      out += loads.bytes(node);
      in += loads.bytes(cluster.nodes + node);
      within += loads.bytes(2 * cluster.nodes + node);
    }
    EXPECT_GT(out, 0.0);
    EXPECT_NEAR(out, in, 1e-12 * out);
    EXPECT_NEAR(out + within, traffic.total_bytes(), 1e-12 * out);
    EXPECT_EQ(within > 0.0, cluster.ranks_per_node > 1);
  }
}

TEST(Properties, WithoutLatencyTimeIsLinearInBytesAndInverseInBandwidth) {
  for_each_price([](const Cluster& cluster, const Traffic& traffic, const ExchangeOptions& options) {
    const Cluster ideal = without_latency(cluster);
    const double once_s = time_s(ideal, traffic, options);
    EXPECT_GT(once_s, 0.0);
    EXPECT_NEAR(time_s(ideal, traffic.scaled(3.0), options), 3.0 * once_s, 1e-9 * once_s);
    EXPECT_NEAR(time_s(faster(ideal, 3.0), traffic, options), once_s / 3.0, 1e-9 * once_s);
    EXPECT_GT(time_s(cluster, traffic, options), once_s) << "latency costs something";
  });
}

// Of the tier fluid this is no law: a faster link may let through what is in the way of something else.
TEST(Properties, NoBandwidthThatGrowsCostsTime) {
  for_each_price([](const Cluster& cluster, const Traffic& traffic, const ExchangeOptions& options) {
    if (options.tier == Tier::fluid) return;
    const double before_s = time_s(cluster, traffic, options);
    for (double Cluster::*bandwidth : {&Cluster::nic_Bps, &Cluster::node_bus_Bps}) {
      Cluster better = cluster;
      better.*bandwidth *= 2.0;
      EXPECT_LE(time_s(better, traffic, options), before_s * (1.0 + 1e-12));
    }
    Cluster better = cluster;
    better.fabric.link_Bps *= 2.0;
    EXPECT_LE(time_s(better, traffic, options), before_s * (1.0 + 1e-12));
    EXPECT_LT(time_s(faster(cluster, 2.0), traffic, options), before_s);
  });
}

TEST(Properties, AFaultNeverHelpsAndIsFelt) {
  for_each_price([](Cluster cluster, const Traffic& traffic, const ExchangeOptions& options) {
    if (cluster.nodes == 1) return;
    const double before_s = time_s(cluster, traffic, options);
    cluster.faults = {{.nic = cluster.nodes / 2, .factor = 0.01}};
    EXPECT_GT(time_s(checked(cluster), traffic, options), 2.0 * before_s);
  });
}

TEST(Properties, NoTierIsBelowTheBound) {
  for_each_price([](const Cluster& cluster, const Traffic& traffic, const ExchangeOptions& options) {
    if (options.strategy == Strategy::hierarchical) return;  // sends bytes by other ways
    const double bound_s = bound_of(Network(cluster), traffic).time_s;
    const double price_s = time_s(cluster, traffic, options);
    EXPECT_GE(price_s, bound_s * (1.0 - 1e-12));
    if (options.strategy == Strategy::flat) {
      EXPECT_LE(price_s, 1.5 * bound_s + 1e-5);
    }
  });
}

/// The same traffic with rank r in the place of rank place[r].
Traffic moved(const Traffic& traffic, const std::vector<Index>& place) {
  Traffic result(traffic.num_ranks());
  traffic.for_each([&](const Pair& pair) {
    result.add(
        Pair{static_cast<std::uint32_t>(place[pair.from]), static_cast<std::uint32_t>(place[pair.to]), pair.bytes});
  });
  return result;
}

// Where every rank stands as good as its place: what a machine looks the same under.
std::vector<Index> symmetry(const Cluster& cluster) {
  std::vector<Index> place;
  const Index run = cluster.ranks_per_node;
  for (Index rank = 0; rank < cluster.num_ranks(); ++rank) {
    const Index node = rank / run;
    const Index mate = run - 1 - rank % run;
    Index to = node;
    if (cluster.fabric.kind == FabricKind::crossbar) to = cluster.nodes - 1 - node;
    if (cluster.fabric.kind == FabricKind::torus) {  // a step on in the first dimension
      const Index dim = cluster.fabric.dims.front();
      to = node / dim * dim + (node % dim + 1) % dim;
    }
    const bool is_two_level = cluster.fabric.up.size() == 1;
    if (is_two_level && cluster.fabric.down.front() % cluster.fabric.up.front() == 0) {
      const Index leaf = cluster.fabric.down.front();  // leaves in reverse, each with the same remainders
      to = (cluster.nodes / leaf - 1 - node / leaf) * leaf + node % leaf;
    }
    place.push_back(to * run + mate);
  }
  return place;
}

TEST(Properties, ItDoesNotMatterWhichOfEqualRanksIsWhich) {
  std::vector<Cluster> clusters = all_kinds();
  clusters.push_back(known_cluster(24, 1, fat_tree({4, 6}, {2})));
  Index changed = 0;
  for (const Cluster& cluster : clusters) {
    if (cluster.fabric.kind == FabricKind::dragonfly && cluster.ranks_per_node == 1) continue;
    if (cluster.fabric.kind == FabricKind::fat_tree && cluster.fabric.up.size() > 1) continue;
    SCOPED_TRACE(text_of(cluster));
    const Traffic traffic = mixed_traffic(cluster, 5);
    const Traffic other = moved(traffic, symmetry(cluster));
    for (const Tier tier : {Tier::bound, Tier::fluid}) {
      const double before_s = time_s(cluster, traffic.as_pairs(), {Strategy::flat, tier});
      EXPECT_NEAR(time_s(cluster, other, {Strategy::flat, tier}), before_s, 1e-9 * before_s);
    }
    changed += cluster.num_ranks() > 1 && other.bytes(RankId{0}, RankId{1}) != traffic.bytes(RankId{0}, RankId{1});
  }
  EXPECT_GE(changed, 6);
}

// The oracle above notices a move that is none of the machine's symmetries.
TEST(Properties, ItMattersWhichOfUnequalRanksIsWhich) {
  const Cluster cluster = known_cluster(12, 2, fat_tree({3, 4}, {2}));
  const Traffic traffic = mixed_traffic(cluster, 5);
  std::vector<Index> place(24);
  std::iota(place.begin(), place.end(), Index{0});
  std::swap(place[0], place[23]);
  const double before_s = time_s(cluster, traffic.as_pairs(), {Strategy::flat, Tier::fluid});
  EXPECT_GT(std::abs(time_s(cluster, moved(traffic, place), {Strategy::flat, Tier::fluid}) - before_s),
            1e-6 * before_s);
}

}  // namespace
}  // namespace conclave::sim
