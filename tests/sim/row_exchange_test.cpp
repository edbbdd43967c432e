// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/row_exchange.hpp"

#include "tests/sim/clusters.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace conclave::sim {
namespace {

constexpr double b = 12.5e9;    // bytes per second of a NIC
constexpr double alpha = 1e-6;  // seconds between nodes
constexpr double beta = 3e-7;   // within one
constexpr double bus = 1e10;    // bytes per second within a node

double seconds(const Cluster& cluster, const std::string& exchange, double bytes_of_pair,
               const Machine* machine = nullptr, double distinct = 1.0) {
  const Network network(cluster);
  const auto ranks = static_cast<double>(network.num_ranks());
  const Traffic traffic = Traffic::uniform(network.num_ranks(), bytes_of_pair * ranks);
  return price_rows(network, machine, exchange, {traffic, 1000.0, distinct}).time_s;
}

// Few ranks are priced message by message, many by formula: both must give the closed form.
TEST(RowExchange, OfUniformRowsIsTheClosedFormOnAnyNumberOfRanks) {
  const double m = 1e6;
  for (const Index ranks : {2, 16, 64, 128}) {
    const auto others = static_cast<double>(ranks - 1);
    EXPECT_NEAR(seconds(known_cluster(ranks), "flat", m), others * m / b + alpha, 1e-9) << ranks;
    const double phases = std::ceil(others / 4.0);
    EXPECT_NEAR(seconds(known_cluster(ranks), "pairwise", m), others * m / b + phases * alpha, 1e-9) << ranks;
    EXPECT_NEAR(seconds(known_cluster(ranks), "shared", m), others * m / b + alpha, 1e-9) << ranks;
  }
}

TEST(RowExchange, BruckTakesFewRoundsAndSendsRowsOnceABit) {
  // 8 ranks: 3 rounds, each of 4 blocks of m bytes, their counts in front, filled up to 64 bytes.
  const double m = 1000.0;
  const double message = std::ceil((4.0 * m + 4.0 * 8.0) / 64.0) * 64.0;
  EXPECT_NEAR(seconds(known_cluster(8), "bruck", m), 3.0 * (alpha + message / b), 1e-12);
  const double many = std::ceil((64.0 * m + 64.0 * 8.0) / 64.0) * 64.0;
  EXPECT_NEAR(seconds(known_cluster(128), "bruck", m), 7.0 * (alpha + many / b), 1e-10);
}

TEST(RowExchange, TakesWhatWasMeasuredOverItsPriceBetweenNodes) {
  Machine without;
  without.compute = {{1, 1, {}}};
  Machine machine = without;
  machine.exchanges = {{"flat", 1000.0, {1.5, 1.5, 1.5}}};
  for (const Index ranks : {4, 128}) {
    const Cluster cluster = known_cluster(ranks);
    EXPECT_NEAR(seconds(cluster, "flat", 1e6, &machine), 1.5 * seconds(cluster, "flat", 1e6, &without), 1e-12);
    EXPECT_EQ(seconds(cluster, "pairwise", 1e6, &machine), seconds(cluster, "pairwise", 1e6, &without));
  }
  EXPECT_EQ(seconds(known_cluster(1, 4), "flat", 1e6, &machine), seconds(known_cluster(1, 4), "flat", 1e6, &without));
}

// Two of eight ranks receive everything: two of sixteen directions of links are busy throughout, and a doubling of the
// number of such directions is worth the fourth root of what all sixteen of them take over their price.
TEST(RowExchange, TakesLessOverItsPriceWhereFewLinksAreBusy) {
  Machine machine;
  machine.compute = {{1, 1, {}}};
  const auto flat_s = [&](const Traffic& traffic) {
    return price_rows(Network(known_cluster(8)), &machine, "flat", {traffic}).time_s;
  };
  Traffic skewed(8);
  for (std::uint32_t from = 0; from < 8; ++from) {
    for (const std::uint32_t to : {2U, 5U}) skewed.add(Pair{from, to, 1e9});
  }
  const double skewed_s = flat_s(skewed);
  const double even_s = flat_s(Traffic::uniform(8, 1e9));
  machine.exchanges = {{"flat", 1000.0, {1.1, 1.1, 1.1}}};
  EXPECT_NEAR(flat_s(Traffic::uniform(8, 1e9)) / even_s, 1.1, 1e-9);
  EXPECT_NEAR(flat_s(skewed) / skewed_s, std::pow(1.1, 0.25), 1e-4);
  machine.exchanges = {{"flat", 1000.0, {0.9, 0.9, 0.9}}};
  EXPECT_NEAR(flat_s(skewed) / skewed_s, 0.9, 1e-9) << "nothing is gained by few links";
}

TEST(RowExchange, HierarchicalSendsCopiesOnce) {
  const Cluster cluster = known_cluster(4, 4);
  const double all = seconds(cluster, "hierarchical", 1e6);
  const double half = seconds(cluster, "hierarchical", 1e6, nullptr, 0.5);
  EXPECT_LT(half, 0.8 * all);
  EXPECT_GT(half, 0.4 * all);
  const Cluster large = known_cluster(64, 4);
  EXPECT_LT(seconds(large, "hierarchical", 1e6, nullptr, 0.5), 0.8 * seconds(large, "hierarchical", 1e6));
}

TEST(RowExchange, AutoIsTheCheapestThatTheRuntimeTries) {
  for (const double m : {64.0, 1e4, 1e6}) {
    const Cluster cluster = known_cluster(8, 4);
    double least = seconds(cluster, "flat", m);
    for (const char* other : {"pairwise", "shared", "hierarchical"})
      least = std::min(least, seconds(cluster, other, m));
    if (m <= 4096.0) least = std::min(least, seconds(cluster, "bruck", m));
    EXPECT_EQ(seconds(cluster, "auto", m), least) << m;
  }
}

TEST(RowExchange, OneRankSendsNothing) {
  for (const std::string& name : priced_exchanges()) EXPECT_EQ(seconds(known_cluster(1), name, 1e6), 0.0) << name;
}

TEST(RowExchange, WithinANodeWhatWasMeasuredTakesThePlaceOfTheBus) {
  const Cluster cluster = known_cluster(1, 4);
  EXPECT_NEAR(seconds(cluster, "flat", 1e6), beta + 12.0 * 1e6 / bus, 1e-9);
  Machine machine;
  machine.compute = {{4, 1, {}}};
  machine.node = MessageCosts{
      {{2e-6, 2e-6, 2e-6}, {1e9, 1e9, 1e9}}, {{5e-6, 5e-6, 5e-6}, {4e9, 4e9, 4e9}}, 4096.0, {1e-7, 1e-7, 1e-7}};
  EXPECT_NEAR(seconds(cluster, "flat", 1e6, &machine), 3.0 * (5e-6 + 1e6 / 4e9) + 6.0 * 1e-7, 1e-12);
  EXPECT_NEAR(seconds(cluster, "flat", 1e3, &machine), 3.0 * (2e-6 + 1e3 / 1e9) + 6.0 * 1e-7, 1e-12);
  machine.shared_memory = SharedMemoryCosts{{7e-6, 7e-6, 7e-6}, {4e9, 4e9, 4e9}};
  EXPECT_NEAR(seconds(cluster, "shared", 1e6, &machine), 7e-6, 1e-12) << "gathering rows has written them";
}

TEST(RowExchange, NamesWhatItKnows) {
  const Network network(known_cluster(2));
  const Traffic traffic = Traffic::uniform(2, 1.0);
  try {
    static_cast<void>(price_rows(network, nullptr, "pairwse", {traffic, 1.0, 1.0}));
    FAIL() << "an exchange without a price was priced";
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(), "the simulator has no price for the exchange 'pairwse'; did you mean pairwise?");
  }
}

}  // namespace
}  // namespace conclave::sim
