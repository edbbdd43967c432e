// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/early_results.hpp"

#include "runtime/core/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace conclave::sim {
namespace {

Cluster nodes_of(Index nodes, Index ranks_per_node = 1) {
  Cluster cluster;
  cluster.nodes = nodes;
  cluster.ranks_per_node = ranks_per_node;
  return cluster;
}

Traffic traffic_of(std::vector<double> sent, std::vector<double> popularity) {
  Traffic traffic(std::ssize(sent));
  traffic.add(TrafficTerm{std::move(sent), std::move(popularity)});
  return traffic;
}

double early_results_s(const Cluster& cluster, const Traffic& rows, const std::vector<double>& expert_seconds,
                       const WaveTimes& wave) {
  std::vector<Moments> seconds;
  for (const double mean : expert_seconds) seconds.push_back({.mean = mean});
  return EarlyResults(cluster, rows, seconds).seconds(wave);
}

TEST(EarlyResults, AreNoneWhereAllRanksSendAlike) {
  const WaveTimes wave{3.0, 1.0, 3.0};
  const std::vector<double> even(6, 1.0 / 6.0);
  const std::vector<double> one_is_hot{0.5, 0.1, 0.1, 0.1, 0.1, 0.1};
  for (const Index ranks_per_node : {1, 2, 3}) {
    const Cluster cluster = nodes_of(6 / ranks_per_node, ranks_per_node);
    for (const std::vector<double>& liked : {even, one_is_hot}) {
      EXPECT_NEAR(early_results_s(cluster, traffic_of(std::vector(6, 1.0), liked), liked, wave), 0.0, 1e-12);
    }
  }
}

// Ranks 1 to 3 have theirs after 0.6, 0.8 and 1 of the time, so results are on their way for the last 1.0, 0.8 and 0.5
// of theirs.
TEST(EarlyResults, OfOneSenderAreThoseOfRanksThatWantLess) {
  const Traffic rows = traffic_of({1.0, 0.0, 0.0, 0.0}, {0.0, 0.2, 0.3, 0.5});
  const std::vector<double> alike(4, 1.0);
  EXPECT_NEAR(early_results_s(nodes_of(4), rows, alike, {1.0, 0.0, 1.0}), 0.4, 1e-12);
  EXPECT_NEAR(early_results_s(nodes_of(4), rows, alike, {1.0, 7.0, 1.0}), 0.4, 1e-12) << "all compute as long";
  EXPECT_NEAR(early_results_s(nodes_of(4), rows, {{0.0, 0.2, 0.3, 0.5}}, {1.0, 10.0, 1.0}), 0.5, 1e-12)
      << "the fullest computes after all others have sent";
  const Traffic even = traffic_of({1.0, 0.0, 0.0, 0.0}, std::vector(4, 0.25));
  EXPECT_NEAR(early_results_s(nodes_of(4), even, alike, {1.0, 1.0, 1.0}), 0.0, 1e-12) << "all have theirs at once";
}

// Its link is busy longer than the sender's, both ways.
TEST(EarlyResults, AreNoneWhereAllWaitForASlowReceiver) {
  Cluster cluster = nodes_of(4);
  cluster.faults.push_back({.nic = 1, .host = -1, .factor = 0.1});
  const Traffic rows = traffic_of({1.0, 0.0, 0.0, 0.0}, {0.0, 0.2, 0.3, 0.5});
  EXPECT_NEAR(early_results_s(cluster, rows, std::vector(4, 1.0), {1.0, 1.0, 1.0}), 0.0, 1e-12);
  cluster.faults = {{.nic = 0, .host = -1, .factor = 0.1}};
  EXPECT_NEAR(early_results_s(cluster, rows, std::vector(4, 1.0), {1.0, 1.0, 1.0}), 0.4, 1e-12) << "a slow sender";
}

// The rank that waits for most rows, and the one that has most to compute.
TEST(EarlyResults, AreThoseOfTheRankThatComputesLongestToo) {
  const Traffic rows = traffic_of(std::vector(4, 1.0), {0.4, 0.3, 0.2, 0.1});
  EXPECT_NEAR(early_results_s(nodes_of(4), rows, {{1.0, 1.0, 1.0, 2.0}}, {1.0, 2.0, 4.0}), 1.0, 1e-12);
}

TEST(EarlyResults, AreNoneWithinANodeAndOfNoRows) {
  EXPECT_EQ(early_results_s(nodes_of(1, 4), traffic_of({1.0, 0.0, 0.0, 0.0}, {0.0, 0.2, 0.3, 0.5}), std::vector(4, 1.0),
                            {1.0, 1.0, 1.0}),
            0.0);
  EXPECT_EQ(early_results_s(nodes_of(4), traffic_of(std::vector(4, 0.0), std::vector(4, 0.25)), std::vector(4, 1.0),
                            {0.0, 1.0, 0.0}),
            0.0);
  EXPECT_EQ(early_results_s(nodes_of(4), Traffic(4), std::vector(4, 0.0), {0.0, 0.0, 0.0}), 0.0);
}

// A link, moment by moment: what has come and is not yet through shares it fairly. Returns when each is through.
std::vector<double> through_link(const std::vector<double>& begins, std::vector<double> amounts) {
  std::vector<double> ends(begins.size(), 0.0);
  double now = 0.0;
  for (;;) {
    double next = std::numeric_limits<double>::infinity();
    double active = 0.0;
    for (std::size_t i = 0; i < begins.size(); ++i) {
      if (amounts[i] > 0.0 && begins[i] > now) next = std::min(next, begins[i]);
      if (amounts[i] > 0.0 && begins[i] <= now) active += 1.0;
    }
    for (std::size_t i = 0; i < begins.size(); ++i) {
      if (amounts[i] > 0.0 && begins[i] <= now) next = std::min(next, now + active * amounts[i]);
    }
    if (next == std::numeric_limits<double>::infinity()) return ends;
    for (std::size_t i = 0; i < begins.size(); ++i) {
      if (!(amounts[i] > 0.0 && begins[i] <= now)) continue;
      amounts[i] -= (next - now) / active;
      if (amounts[i] > 1e-12) continue;
      amounts[i] = 0.0;
      ends[i] = next;
    }
    now = next;
  }
}

TEST(EarlyResults, OfOneSenderAreThoseOfItsLinkFollowedMomentByMoment) {
  const Random random(1, RandomStream::generate);
  Index counter = 0;
  const auto number = [&] { return random.uniform(counter++, 0); };
  for (Index c = 0; c < 200; ++c) {
    const auto ranks = static_cast<std::size_t>(2 + c % 7);
    std::vector<double> sent(ranks, 0.0);
    std::vector<double> popularity(ranks, 0.0);
    std::vector<double> seconds(ranks, 0.0);
    sent[0] = 1.0;
    double all = 0.0;
    for (std::size_t r = 1; r < ranks; ++r) all += popularity[r] = 0.01 + number();
    for (double& share : popularity) share /= all;
    for (std::size_t r = 1; r < ranks; ++r) seconds[r] = 2.0 * number();
    const double longest = std::ranges::max(seconds);
    const std::vector<double> there = through_link(std::vector(ranks, 0.0), popularity);
    std::vector<double> ready(ranks, 0.0);
    for (std::size_t r = 1; r < ranks; ++r) ready[r] = there[r] + seconds[r];
    const double end = std::ranges::max(through_link(ready, popularity));
    const double early =
        early_results_s(nodes_of(std::ssize(sent)), traffic_of(sent, popularity), seconds, {1.0, longest, 1.0});
    EXPECT_NEAR(early, std::min(1.0, 2.0 + longest - end), 1e-9) << "case " << c;
  }
}

}  // namespace
}  // namespace conclave::sim
