// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/exchange_model.hpp"

#include "runtime/sim/bound.hpp"

#include <gtest/gtest.h>

#include "tests/sim/clusters.hpp"

namespace conclave::sim {
namespace {

TEST(Bound, NamesWhatLimits) {
  Cluster cluster = known_cluster(64, 1, fat_tree({8, 8}, {4}));
  cluster.faults = {{.nic = 37, .factor = 0.1}};
  const Network network(checked(cluster));
  Traffic traffic(64);
  traffic.add(Pair{3, 40, 1e6});
  traffic.add(Pair{4, 44, 1e6});
  const Bound link = bound_of(network, traffic);
  EXPECT_EQ(network.name(link.resource), "up-link 0 of leaf 0");
  EXPECT_DOUBLE_EQ(link.time_s, 2e6 / 12.5e9 + 4e-6);
  traffic.add(Pair{1, 37, 1e6});
  EXPECT_EQ(network.name(bound_of(network, traffic).resource), "NIC of node 37, in");
  EXPECT_EQ(bound_of(network, Traffic(64)).resource, -1);
}

TEST(ExchangeModel, TellsPhasesThatAddUpAndTheTierThatWasUsed) {
  const Network network(known_cluster(4, 2));
  const Traffic traffic = mixed_traffic(network.cluster());
  for (const Strategy strategy : {Strategy::flat, Strategy::pairwise, Strategy::hierarchical}) {
    const ExchangePrice price = price_exchange(network, traffic, {strategy, Tier::automatic});
    double sum = 0.0;
    for (const PhaseTime& phase : price.phases) sum += phase.time_s;
    EXPECT_NEAR(sum, price.time_s, 1e-12 * price.time_s);
    EXPECT_EQ(price.tier, strategy == Strategy::flat ? Tier::fluid : Tier::rounds);
    EXPECT_EQ(price.bound_s.has_value(), strategy == Strategy::flat);
    EXPECT_FALSE(price.bottleneck.empty());
  }
}

TEST(ExchangeModel, OfNothingIsNothing) {
  for (const Cluster& cluster : all_kinds()) {
    const Network network(cluster);
    for (const Strategy strategy : {Strategy::flat, Strategy::pairwise, Strategy::hierarchical}) {
      const ExchangePrice price =
          price_exchange(network, Traffic::uniform(cluster.num_ranks(), 0.0), {strategy, Tier::automatic});
      EXPECT_EQ(price.time_s, 0.0);
      EXPECT_EQ(price.bottleneck, "");
    }
  }
}

TEST(ExchangeModel, TakesTheBoundWhereThereAreTooManyFlows) {
  const Network network(known_cluster(16384, 64));
  const Traffic traffic = Traffic::uniform(network.num_ranks(), 1e6);
  ASSERT_EQ(network.num_ranks(), 1048576);
  const ExchangePrice price = price_exchange(network, traffic, {});
  EXPECT_EQ(price.tier, Tier::bound);
  const double expected_s = 64.0 * 1e6 * (1.0 - 64.0 / 1048576.0) / 12.5e9 + 1e-6;
  EXPECT_NEAR(price.time_s, expected_s, 1e-9 * expected_s);
  EXPECT_THROW(static_cast<void>(price_exchange(network, traffic, {Strategy::flat, Tier::fluid})), InputError);
  const Network long_ways(known_cluster(512, 1, torus({512})));
  EXPECT_EQ(price_exchange(long_ways, Traffic::uniform(512, 1e6), {}).tier, Tier::bound) << "256 links a flow";
  EXPECT_THROW(static_cast<void>(price_exchange(network, traffic, {Strategy::pairwise, Tier::automatic})), InputError);
}

TEST(ExchangeModel, RefusesTiersThatDoNotGoWithTheStrategy) {
  const Network network(known_cluster(4));
  const Traffic traffic = Traffic::uniform(4, 1e6);
  for (const ExchangeOptions& options :
       {ExchangeOptions{Strategy::flat, Tier::rounds}, ExchangeOptions{Strategy::pairwise, Tier::bound},
        ExchangeOptions{Strategy::pairwise, Tier::fluid}, ExchangeOptions{Strategy::hierarchical, Tier::bound}}) {
    try {
      static_cast<void>(price_exchange(network, traffic, options));
      ADD_FAILURE() << name_of(options.strategy) << " " << name_of(options.tier);
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find(name_of(options.tier)), std::string::npos) << error.what();
      EXPECT_NE(error.hint().find("use "), std::string::npos) << error.hint();
    }
  }
}

}  // namespace
}  // namespace conclave::sim
