// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/training_price.hpp"
#include "runtime/sim/layer_price.hpp"

#include "tests/sim/clusters.hpp"
#include "tests/sim/workloads.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <numeric>

namespace conclave::sim {
namespace {

double sum_of(const TrainingPrice& price) { return std::accumulate(price.phases_s.begin(), price.phases_s.end(), 0.0); }

TEST(TrainingPrice, OneRankComputesAndWaitsForNobody) {
  const Workload w = small_workload();
  const Machine machine = small_machine();
  const TrainingPrice price = sim::price(w, known_cluster(1), &machine);
  const ExpertLoads loads = expected_loads(w, even_popularity(w));
  std::vector<double> rows;
  for (const Moments& m : loads.rows) rows.push_back(2.0 * m.mean);  // of both passes
  const PhaseWork work =
      step_work(w, ExpertMap::contiguous(8, 1), RankId{0}, std::vector<std::vector<double>>{rows, rows});
  double expected = 0.0;
  const double far = far_share(step_footprint(w, 1), machine.cache_bytes);
  for (const auto& entry : enum_names(Phase{})) {
    const double seconds = machine.compute[0].of(entry.value).seconds(of(work, entry.value), far);
    EXPECT_NEAR(price.of(entry.value), entry.value == Phase::wait ? 0.0 : seconds, 1e-9 * price.step_s) << entry.name;
    expected += seconds;
  }
  EXPECT_NEAR(price.step_s, expected, 1e-3 * expected);
  EXPECT_EQ(price.communication_s, 0.0);
  EXPECT_EQ(price.exposed_s, 0.0);
}

TEST(TrainingPrice, WithoutAMachineProductsAreAllThatTakesTime) {
  const Workload w = small_workload();
  const TrainingPrice price = sim::price(w, known_cluster(1), nullptr);
  const ExpertLoads loads = expected_loads(w, even_popularity(w));
  std::vector<double> rows;
  for (const Moments& m : loads.rows) rows.push_back(2.0 * m.mean);
  const PhaseWork work =
      step_work(w, ExpertMap::contiguous(8, 1), RankId{0}, std::vector<std::vector<double>>{rows, rows});
  EXPECT_NEAR(price.step_s, flops(work) / 1e11, 1e-3 * price.step_s);
  EXPECT_EQ(price.of(Phase::optimizer), 0.0);
  EXPECT_EQ(price.low_s, price.step_s);
  EXPECT_EQ(price.high_s, price.step_s);
}

TEST(TrainingPrice, PhasesAddUpToTheStepOnEveryKindOfMachine) {
  const Workload w = small_workload();
  const Machine machine = small_machine();
  for (const Cluster& cluster : all_kinds()) {
    for (const char* exchange : {"flat", "pairwise", "bruck", "shared", "hierarchical", "auto"}) {
      Workload with = w;
      with.transport.exchange = exchange;
      const TrainingPrice price = sim::price(with, cluster, &machine);
      EXPECT_NEAR(sum_of(price), price.step_s, 1e-9 * price.step_s) << exchange;
      EXPECT_NEAR(price.of(Phase::wait), price.exposed_s + price.imbalance_s, 1e-9 * price.step_s) << exchange;
      EXPECT_GE(price.imbalance_s, -1e-9 * price.step_s) << exchange;
      EXPECT_LE(price.exposed_s, price.communication_s * (1.0 + 1e-9)) << exchange;
      EXPECT_EQ(price.exposed_s > 0.0, cluster.num_ranks() > 1) << exchange;
      EXPECT_FALSE(price.limit.empty());
    }
  }
}

TEST(TrainingPrice, MoreBandwidthIsNeverSlower) {
  const Workload w = small_workload();
  const Machine machine = small_machine();
  for (Cluster cluster : all_kinds()) {
    const double before = sim::price(w, cluster, &machine).step_s;
    cluster.nic_Bps *= 2.0;
    cluster.node_bus_Bps *= 2.0;
    cluster.fabric.link_Bps *= 2.0;
    EXPECT_LE(sim::price(w, cluster, &machine).step_s, before * (1.0 + 1e-12));
  }
}

TEST(TrainingPrice, SkewIsNeverFasterAndIsWaitedFor) {
  Workload w = small_workload();
  w.moe.slots = 32;  // nothing is dropped
  const Machine machine = small_machine();
  std::vector<double> skewed{0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05};
  const TrainingPrice even = sim::price(w, known_cluster(4), &machine);
  const TrainingPrice uneven = sim::price(w, known_cluster(4), &machine, skewed);
  EXPECT_GT(uneven.step_s, even.step_s);
  EXPECT_GT(uneven.imbalance_s, even.imbalance_s);
  EXPECT_NEAR(uneven.drop_rate, 0.0, 1e-12);
  w.moe.slots = 10;
  EXPECT_GT(sim::price(w, known_cluster(4), &machine, skewed).drop_rate, 0.1);
}

TEST(TrainingPrice, EvenAFairRouterIsWaitedFor) {
  Workload w = small_workload();
  w.moe.slots = 32;
  w.moe.experts.assign(8, {8, 16, 2, 256});
  const Machine machine = small_machine();
  const Cluster cluster = known_cluster(4);
  EXPECT_GT(sim::price(w, cluster, &machine).imbalance_s, 0.0);
}

TEST(TrainingPrice, ASlowHostHoldsEverybodyUp) {
  const Workload w = small_workload();
  const Machine machine = small_machine();
  Cluster cluster = known_cluster(2);
  const TrainingPrice sound = sim::price(w, cluster, &machine);
  cluster.faults = {{.host = 1, .factor = 0.5}};
  const TrainingPrice slow = sim::price(w, checked(cluster), &machine);
  const double compute_s = sound.step_s - sound.of(Phase::wait);
  EXPECT_NEAR(slow.step_s - sound.step_s, compute_s, 0.15 * compute_s) << "half the speed is twice the time";
  EXPECT_EQ(slow.limit, "waiting for the slowest rank");
}

TEST(TrainingPrice, MoreOfAStepStaysNearTheMoreRanksShareIt) {
  const Workload w = small_workload();
  Machine machine = small_machine();
  for (Rate& rate : machine.compute[0].phases) rate = {.s_per_far_byte = {1e-10, 1e-10, 1e-10}};
  const auto computing = [&](Index ranks) {
    const TrainingPrice price = sim::price(w, known_cluster(ranks), &machine);
    return price.step_s - price.of(Phase::wait);
  };
  EXPECT_LT(computing(4), 0.25 * computing(1)) << "a fourth of the bytes, and fewer of them far";
  machine.cache_bytes = 1e15;
  EXPECT_LT(computing(1), 1e-12);
}

TEST(TrainingPrice, NoiseAndResidualsAreTold) {
  const Workload w = small_workload();
  Machine machine = small_machine();
  const TrainingPrice quiet = sim::price(w, known_cluster(16), &machine);
  EXPECT_EQ(quiet.low_s, quiet.step_s);
  machine.noise.sigma = 0.05;
  machine.residual_sigma[static_cast<std::size_t>(Phase::attention)] = 0.1;
  const TrainingPrice noisy = sim::price(w, known_cluster(16), &machine);
  EXPECT_GT(noisy.step_s, quiet.step_s);
  EXPECT_NEAR(noisy.high_s - noisy.step_s, 1.6449 * 0.1 * noisy.of(Phase::attention), 1e-3 * noisy.step_s);
  machine.residual_sigma = {};
  machine.drift_sigma = 0.1;
  const TrainingPrice drifting = sim::price(w, known_cluster(16), &machine);
  EXPECT_NEAR(drifting.high_s - drifting.step_s, 1.6449 * 0.1 * drifting.step_s, 1e-3 * drifting.step_s);
  EXPECT_EQ(drifting.step_s, noisy.step_s);
  machine.drift_sigma = 0.0;
  for (Rate& rate : machine.compute[0].phases) rate.s_per_flop = {2e-11, 1e-11, 3e-11};
  const TrainingPrice uncertain = sim::price(w, known_cluster(16), &machine);
  EXPECT_LT(uncertain.low_s, uncertain.step_s) << "the rates' own intervals stand where there are no residuals";
}

TEST(TrainingPrice, NoiseIsWaitedForWhereverRanksMeet) {
  Workload w = small_workload();
  Machine machine = small_machine();
  const auto added_s = [&](Index ranks, const Noise& noise) {
    machine.noise = {};
    const double quiet_s = sim::price(w, known_cluster(ranks), &machine).step_s;
    machine.noise = noise;
    return sim::price(w, known_cluster(ranks), &machine).step_s - quiet_s;
  };
  EXPECT_EQ(added_s(1, {0.05, 1e-6}), 0.0) << "one rank waits for nobody";
  machine.noise = {};
  const TrainingPrice quiet = sim::price(w, known_cluster(2), &machine);
  double compute_s = 0.0;
  for (const PathPart& part : quiet.path) compute_s += part.seconds;
  compute_s -= quiet.exposed_s;
  // E[the larger of two standard normal amounts] = 1 / sqrt(pi).
  const double larger = 1.0 / std::sqrt(std::numbers::pi);
  EXPECT_NEAR(added_s(2, {0.05, 0.0}), larger * 0.05 * compute_s, 1e-3 * added_s(2, {0.05, 0.0}))
      << "what slows all of a step down adds up whether ranks meet often or not";
  EXPECT_GT(added_s(4, {0.05, 1e-6}), added_s(2, {0.05, 1e-6}));
  // Interruptions of n parts of m seconds: n sqrt(jitter m) is the more, the shorter the parts are.
  const double whole_s = larger * std::sqrt(1e-6 * compute_s);
  EXPECT_GT(added_s(2, {0.0, 1e-6}), whole_s);
  const double meetings = 4.0 * static_cast<double>(w.passes * w.moe_blocks) + static_cast<double>(w.passes) + 1.0;
  EXPECT_LE(added_s(2, {0.0, 1e-6}), 1.001 * std::sqrt(meetings) * whole_s) << "even parts have most of it";
}

// A hot expert on rank 0, alone or with a copy on rank 1; the others on ranks 2 and 3.
TrainingPrice price_of_hot_expert(const Workload& w, double hot_rows, bool is_copied) {
  const Network network(known_cluster(4));
  const Machine machine = small_machine();
  ExpertLoads loads = expected_loads(w, even_popularity(w));
  for (Moments& rows : loads.rows) rows = {1.0, 0.0, 0.0};
  loads.rows[0].mean = hot_rows;
  experts::Placement placement{{}, 4};
  for (Index e = 0; e < w.moe.num_experts(); ++e) placement.hosts.push_back({RankId{2 + e % 2}});
  placement.hosts[0] = {RankId{0}};
  if (is_copied) placement.hosts[0].push_back(RankId{1});
  const std::vector<ExpertLoads> all{loads};
  return price_training_step({w, network, &machine, all, {&placement, 1}});
}

double seconds_of(const TrainingPrice& price, const std::string& part) {
  double seconds = 0.0;
  for (const PathPart& p : price.path) seconds += p.what == part ? p.seconds : 0.0;
  return seconds;
}

TEST(TrainingPrice, ReplicasShareRowsOutAndSendGradientsAndValues) {
  Workload w = small_workload();
  w.moe.experts.assign(8, {8, 16, 2, 2 * 8 * 16});
  const std::string sent = "gradients and values of replicas";
  const TrainingPrice alone = price_of_hot_expert(w, 12288.0, false);
  const TrainingPrice copied = price_of_hot_expert(w, 12288.0, true);
  EXPECT_EQ(seconds_of(alone, sent), 0.0);
  EXPECT_NEAR(seconds_of(copied, "experts"), 0.5 * seconds_of(alone, "experts"), 0.01 * seconds_of(alone, "experts"));
  // 16 blocks make 8 segments, a half of which is one sum: a message to home in each of two passes, and one back.
  const double bytes = 4.0 * 2 * 8 * 16;
  EXPECT_NEAR(seconds_of(copied, sent), 2.0 * 3.0 * (1e-6 + bytes / 12.5e9), 1e-9 * copied.step_s);
  EXPECT_LT(seconds_of(copied, "optimizer"), 1.0001 * seconds_of(alone, "optimizer")) << "at home alone";
  // One segment cannot be shared out.
  EXPECT_EQ(seconds_of(price_of_hot_expert(w, 700.0, true), "experts"),
            seconds_of(price_of_hot_expert(w, 700.0, false), "experts"));
  EXPECT_GT(price_of_hot_expert(w, 700.0, true).step_s, price_of_hot_expert(w, 700.0, false).step_s);
}

TEST(TrainingPrice, CasesOfLoadsHavePlacementsOfTheirOwn) {
  Workload w = small_workload();
  w.moe.experts.assign(4, {8, 16, 2, 2 * 8 * 16});
  const Network network(known_cluster(2));
  const Machine machine = small_machine();
  // Two layers, of each two experts are hot: the first two, the outer ones.
  std::vector<ExpertLoads> loads(2, expected_loads(w, even_popularity(w)));
  const auto set = [](ExpertLoads& of_layer, std::array<double, 4> rows) {
    for (std::size_t e = 0; e < rows.size(); ++e) of_layer.rows[e] = {rows[e], 0.0, 0.0};
  };
  set(loads[0], {900.0, 900.0, 100.0, 100.0});
  set(loads[1], {900.0, 100.0, 100.0, 900.0});
  const experts::Placement even = experts::contiguous_placement(4, 2);
  experts::Placement odd{{{RankId{0}}, {RankId{1}}, {RankId{0}}, {RankId{1}}}, 2};
  const auto experts_s = [&](const std::vector<experts::Placement>& placements) {
    return seconds_of(price_training_step({w, network, &machine, loads, placements}), "experts");
  };
  const double best_s = experts_s({odd, even});
  EXPECT_LT(best_s, 0.8 * experts_s({even, even}));
  EXPECT_NEAR(experts_s({even, even}), experts_s({even}), 1e-12 * best_s) << "one stands for all";
  EXPECT_NEAR(experts_s({odd, odd}), experts_s({odd}), 1e-12 * best_s);
  EXPECT_LT(best_s, experts_s({odd, odd}) * 1.0001);
  odd.hosts[1].insert(odd.hosts[1].begin(), RankId{0});
  const TrainingPrice copied = price_training_step({w, network, &machine, loads, std::vector{odd, even}});
  const double bytes = 4.0 * 2 * 8 * 16;
  const double blocks = 0.5 * static_cast<double>(w.moe_blocks);
  EXPECT_NEAR(seconds_of(copied, "gradients and values of replicas"),
              blocks * static_cast<double>(w.passes + 1) * (1e-6 + bytes / 12.5e9), 1e-9 * copied.step_s)
      << "one of the two layers has a copy";
  EXPECT_THROW(price_training_step({w, network, &machine, loads, std::vector(3, even)}), InvariantError);
}

TEST(TimeOfWaves, IsThatOfAScheduleOfWiresAndExperts) {
  const auto all_s = [](Index waves, const WaveCosts& wave) { return time_of_waves(waves, wave).all_s; };
  EXPECT_EQ(all_s(1, {3.0, 4.0, 0.0, 1.0}), 8.0) << "one wave hides nothing";
  EXPECT_EQ(all_s(2, {3.0, 2.0, 0.0, 1.0}), 9.0) << "in at 3 and 6, computed at 5 and 8, out at 7 and 9";
  EXPECT_EQ(all_s(4, {0.0, 2.0, 0.0, 0.0}), 8.0) << "experts alone";
  EXPECT_EQ(all_s(4, {1.0, 0.0, 0.0, 2.0}), 12.0) << "wires alone";
  EXPECT_EQ(all_s(3, {1.0, 5.0, 0.0, 2.0}), 18.0) << "the first in, the last out, the rest hidden";
  EXPECT_EQ(all_s(2, {1.0, 2.0, 3.0, 1.0}), 11.0) << "results are out before the last experts are done";
  EXPECT_EQ(time_of_waves(2, {1.0, 2.0, 3.0, 1.0}).tail_s, 0.0);
  EXPECT_EQ(time_of_waves(2, {3.0, 2.0, 0.0, 1.0}).tail_s, 1.0);
  for (Index waves = 1; waves <= 8; ++waves) {
    const auto of_wave = 1.0 / static_cast<double>(waves);
    const WaveCosts wave{0.7 * of_wave, of_wave, 0.3 * of_wave, 0.9 * of_wave};
    EXPECT_GE(all_s(waves, wave), std::max(1.6, 1.3 + wave.in_s) - 1e-12) << "nothing is faster than wires and experts";
    EXPECT_LE(all_s(waves, wave), 2.9 + 1e-12) << "nothing hides less than nothing";
  }
}

TEST(TimeOfWaves, OfExpertsTakesLongerForWhatTheyHide) {
  const auto all_s = [](Index waves, const WaveCosts& wave) { return time_of_waves(waves, wave).all_s; };
  EXPECT_EQ(all_s(1, {3.0, 4.0, 0.0, 1.0, 2.0}), 8.0) << "one wave hides nothing";
  // The first in and the last out are seen: 2 of 3 waves' wires are hidden, and cost each of them 2/3 of half a second.
  EXPECT_NEAR(all_s(3, {1.0, 5.0, 0.0, 2.0, 0.5}), 18.0 + 2.0 / 3.0 * 1.5, 1e-12);
  EXPECT_EQ(all_s(4, {2.0, 0.5, 0.0, 2.0, 0.1}), all_s(4, {2.0, 0.5, 0.0, 2.0})) << "the wires set the pace";
}

TEST(TrainingPrice, SumsThatBackwardHidesMakeItTakeLonger) {
  Workload w = small_workload();
  w.moe_blocks = 0;
  w.transport.exchange = "flat";
  w.replicated_parameters = 1 << 20;
  for (Index run = 8; run-- > 0;)
    w.reduced_runs.push_back({w.replicated_parameters / 8, run > 0 ? w.blocks() : 0, 0.0});
  Machine machine = small_machine();
  Cluster cluster = known_cluster(2);
  cluster.nic_Bps *= 1000.0;
  const MessageLine line{{1e-6, 1e-6, 1e-6}, {12.5e9, 12.5e9, 12.5e9}};
  machine.network = MessageCosts{line, line, 0.0, {}};
  const TrainingPrice free = sim::price(w, cluster, &machine);
  machine.network->busy_s_per_byte.value = 1e-14;
  const TrainingPrice busy = sim::price(w, cluster, &machine);
  EXPECT_EQ(busy.communication_s, free.communication_s);
  EXPECT_EQ(busy.exposed_s, free.exposed_s) << "that of the last run";
  // A rank's 3 groups are two sums. Half of each goes out, and as many bytes come in, of 7 of 8 runs.
  const double hidden_bytes = 2.0 * 7.0 / 8.0 * element_bytes * static_cast<double>(w.replicated_parameters);
  EXPECT_NEAR(busy.step_s - free.step_s, 1e-14 * hidden_bytes * static_cast<double>(w.passes),
              1e-3 * (busy.step_s - free.step_s));
  EXPECT_GT(busy.of(Phase::attention), free.of(Phase::attention));
}

// One of two ranks has all groups: in backward dy leaves it and dx comes back, so that its way out is free for
// gradients while dx travels.
TEST(LayerPrice, GradientsPassWhileTheirLinkCarriesNoRows) {
  Workload w = small_workload();
  w.groups = w.passes = 2;
  const Network network(known_cluster(2));
  const Machine machine = small_machine();
  const std::vector<ExpertLoads> loads{expected_loads(w, even_popularity(w))};
  const RankSpeed speed(network.cluster(), &machine, 0.0);
  Traffic sums(2);
  sums.add(Pair{0, 1, 1e9});
  const auto priced = [&](const char* exchange) {
    w.transport.exchange = exchange;
    return price_layer({w, network, &machine, loads}, speed, experts::contiguous_placement(8, 2), loads.front(),
                       network.loads(sums));
  };
  for (const auto& [exchange, busy] : {std::pair{"flat", 1.0}, std::pair{"bruck", 2.0}}) {
    const LayerPrice price = priced(exchange);
    const double one_way_s = 0.25 * (price.communication_s - price.counts_s);
    EXPECT_NEAR(price.backward_s - price.backward_idle_s, busy * one_way_s, 0.01 * one_way_s) << exchange;
  }
}

TEST(TrainingPrice, WavesHideWhatTheExpertsTakeLongerThan) {
  Workload w = small_workload();
  w.width = 512;
  w.heads = 8;
  w.moe.experts.assign(8, {512, 2048, 2, 2 * 512 * 2048});
  const Machine machine = small_machine();
  const TrainingPrice one = sim::price(w, known_cluster(2), &machine);
  w.transport.waves = 4;
  const TrainingPrice four = sim::price(w, known_cluster(2), &machine);
  EXPECT_LT(four.exposed_s, one.exposed_s);
  EXPECT_NEAR(one.step_s - four.step_s, one.exposed_s - four.exposed_s, 1e-9 * one.step_s);
}

TEST(TrainingPrice, CheckpointsAreAsFastAsTheSlowestOfNodesAndFileSystem) {
  Workload w = small_workload();
  w.moe_blocks = 0;
  w.states = 0;
  w.replicated_parameters = 16'000'000'000;  // 64 GB
  Cluster cluster = known_cluster(64);
  EXPECT_EQ(sim::price(w, cluster, nullptr).checkpoint_s, 0.0) << "nothing is known of files";
  cluster.file_system_Bps = 16e9;  // 8 servers of 2 GB/s
  EXPECT_DOUBLE_EQ(sim::price(w, cluster, nullptr).checkpoint_s, 4.0);
  Machine machine = small_machine();
  machine.file = FileCosts{{0.5, 0.5, 0.5}, {1e8, 1e8, 1e8}};
  EXPECT_DOUBLE_EQ(sim::price(w, cluster, &machine).checkpoint_s, 10.5);
}

TEST(TrainingPrice, SaysWhatItIsBeyond) {
  const Workload w = small_workload();
  const Machine machine = small_machine();
  const TrainingPrice price = sim::price(w, known_cluster(2, 4), &machine);
  ASSERT_EQ(price.notes.size(), 2U);
  EXPECT_EQ(price.notes[0], "not so many busy ranks a node were measured: the rates of 1 are taken");
  EXPECT_TRUE(sim::price(w, known_cluster(1), &machine).notes.empty());
}

TEST(TrainingPrice, SourcesThatLikeTheirOwnRanksExpertsSendNothing) {
  Workload w = small_workload();
  w.passes = 1;
  w.moe.experts.assign(8, {8, 16, 2, 256});
  const Machine machine = small_machine();
  const Network network(known_cluster(4));
  ExpertLoads alike{std::vector<Moments>(8, {96.0, 0.0, 0.0}), 768.0, {}};
  ExpertLoads at_home = alike;
  ExpertLoads away = alike;
  for (std::size_t source = 0; source < 4; ++source) {
    at_home.by_source.emplace_back(8, 0.0);
    away.by_source.emplace_back(8, 0.0);
    for (std::size_t e : {2 * source, 2 * source + 1}) {
      at_home.by_source[source][e] = 96.0;
      away.by_source[source][(e + 2) % 8] = 96.0;
    }
  }
  const auto communication_s = [&](const ExpertLoads& loads) {
    return price_training_step({w, network, &machine, std::span(&loads, 1)}).communication_s;
  };
  EXPECT_LT(communication_s(at_home), communication_s(alike));
  EXPECT_LT(communication_s(alike), communication_s(away));
}

TEST(TrainingPrice, ManyRanksTakeNoTableOfPairs) {
  Workload w = small_workload();
  w.groups = 1 << 14;
  w.moe.experts.assign(1 << 12, {8, 16, 2, 256});
  const Machine machine = small_machine();
  const TrainingPrice price = sim::price(w, known_cluster(1 << 11, 8), &machine);
  EXPECT_NEAR(sum_of(price), price.step_s, 1e-9 * price.step_s);
}

TEST(TrainingPrice, RefusesAMachineOfWhichNothingIsKnown) {
  Cluster cluster = known_cluster(2);
  cluster.rank_flops_per_s = not_given;
  EXPECT_THROW(static_cast<void>(sim::price(small_workload(), cluster, nullptr)), InputError);
}

}  // namespace
}  // namespace conclave::sim
