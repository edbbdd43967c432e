// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/step_timeline.hpp"

#include "runtime/sim/layer_price.hpp"
#include "tests/sim/clusters.hpp"
#include "tests/sim/workloads.hpp"

#include <gtest/gtest.h>

#include <map>

namespace conclave::sim {
namespace {

/// A price, and what it is made of; two different cases of loads.
struct Traced {
  Traced(const Workload& workload, const Cluster& cluster, const Machine* m)
      : w(workload), network(cluster), machine(m), log(all_ranks(cluster)) {
    const std::vector<double> skewed{0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05};
    if (w.moe_blocks > 0) loads = {expected_loads(w, even_popularity(w)), expected_loads(w, skewed)};
    price = price_training_step({w, network, machine, loads}, &log);
  }
  static std::vector<RankId> all_ranks(const Cluster& cluster) {
    std::vector<RankId> ranks;
    for (RankId rank; rank < RankId{cluster.num_ranks()}; ++rank) ranks.push_back(rank);
    return ranks;
  }
  [[nodiscard]] StepTimeline timeline() const {
    std::vector<bool> has_experts;
    for (Index b = 0; b < w.blocks(); ++b) has_experts.push_back(b >= w.dense_blocks);
    return {log, w, has_experts};
  }
  Workload w;
  Network network;
  const Machine* machine;
  std::vector<ExpertLoads> loads;
  StepLog log;
  TrainingPrice price;
};

std::array<double, num_phases> sums_by_phase(const std::vector<Span>& row) {
  std::array<double, num_phases> sums{};
  for (const Span& span : row) {
    if (span.phase) sums[static_cast<std::size_t>(*span.phase)] += span.seconds();
  }
  return sums;
}

double waited_for_ranks(const std::vector<Span>& row) {
  double sum = 0.0;
  for (const Span& span : row) {
    const bool is_rank = span.of == "the slowest rank" || span.of == "noise of the slowest rank";
    if (span.kind == SpanKind::wait && is_rank) sum += span.seconds();
  }
  return sum;
}

bool holds_others(const Span& span) { return span.kind <= SpanKind::layer; }

// Holders hold all that begins before their end; nothing else overlaps, and time has no gap.
void expect_sound(const std::vector<Span>& row, double end_s) {
  ASSERT_FALSE(row.empty());
  std::vector<Span> open;
  double now_s = 0.0;
  const double ulp = 1e-12 * end_s;
  for (const Span& span : row) {
    EXPECT_GE(span.end_s, span.begin_s) << span.name();
    while (!open.empty() && span.begin_s >= open.back().end_s) open.pop_back();
    if (!open.empty()) {
      EXPECT_LE(span.end_s, open.back().end_s) << span.name() << " in " << open.back().name();
    }
    EXPECT_NEAR(span.begin_s, now_s, ulp) << span.name();
    if (holds_others(span)) {
      open.push_back(span);
    } else {
      now_s = span.end_s;
    }
  }
  EXPECT_NEAR(now_s, end_s, 1e-9 * end_s);
  EXPECT_EQ(row.front().name(), "step 1");
  EXPECT_NEAR(row.front().seconds(), end_s, 1e-9 * end_s);
}

// A machine of each kind, waves, a dense model, noise, a slow host.
void for_each_case(FunctionRef<void(const Traced&, const std::string&)> body) {
  Machine machine = small_machine();
  machine.noise.sigma = 0.03;
  for (Cluster cluster : all_kinds()) {
    for (const Index waves : {1, 4}) {
      for (const bool slow : {false, true}) {
        Workload w = small_workload();
        w.transport.waves = waves;
        w.transport.exchange = "auto";
        const Index third = w.replicated_parameters / 3;
        w.reduced_runs = {{third, 1, 0.0}, {third, 0, 0.5}, {w.replicated_parameters - 2 * third, 0, 0.0}};
        w.moe.slots = 64;
        if (slow) cluster.faults = {{.host = cluster.nodes - 1, .factor = 0.5}};
        const std::string what = fmt::format("{}, {} waves, {}", text_of(cluster), waves, slow ? "slow" : "sound");
        body(Traced(w, checked(cluster), &machine), what);
        body(Traced(w, checked(cluster), nullptr), what + ", nothing measured");
        w.moe_blocks = 0;
        body(Traced(w, checked(cluster), &machine), what + ", dense");
      }
    }
  }
}

TEST(StepTimeline, TheMeanRowAddsUpToThePricesPhases) {
  for_each_case([](const Traced& t, const std::string& what) {
    const std::vector<Span> row = t.timeline().mean();
    expect_sound(row, t.price.step_s);
    const std::array<double, num_phases> sums = sums_by_phase(row);
    for (const auto& entry : enum_names(Phase{})) {
      EXPECT_NEAR(sums[static_cast<std::size_t>(entry.value)], t.price.of(entry.value), 1e-9 * t.price.step_s)
          << what << ": " << entry.name;
    }
    EXPECT_NEAR(waited_for_ranks(row), t.price.imbalance_s, 1e-9 * t.price.step_s) << what;
  });
}

TEST(StepTimeline, TheSlowestRowIsTheCriticalPath) {
  for_each_case([](const Traced& t, const std::string& what) {
    const std::vector<Span> row = t.timeline().slowest();
    expect_sound(row, t.price.step_s);
    const std::array<double, num_phases> sums = sums_by_phase(row);
    std::map<std::string, double> path;
    for (const PathPart& part : t.price.path) path[part.what] += part.seconds;
    const double tolerance = 1e-9 * t.price.step_s;
    EXPECT_NEAR(sums[static_cast<std::size_t>(Phase::experts)], path["experts"], tolerance) << what;
    EXPECT_NEAR(sums[static_cast<std::size_t>(Phase::reduce)], path["gradients summed"], tolerance) << what;
    EXPECT_NEAR(sums[static_cast<std::size_t>(Phase::optimizer)], path["optimizer"], tolerance) << what;
    EXPECT_NEAR(waited_for_ranks(row), path["noise"], tolerance) << what << ": it waits for its own noise alone";
    EXPECT_NEAR(sums[static_cast<std::size_t>(Phase::wait)], path["noise"] + t.price.exposed_s, tolerance) << what;
  });
}

TEST(StepTimeline, ARanksRowIsItsOwnWorkOnItsHost) {
  for_each_case([](const Traced& t, const std::string& what) {
    const Cluster& cluster = t.network.cluster();
    const RankSpeed speed(cluster, t.machine, step_footprint(t.w, cluster.num_ranks()));
    std::vector<std::vector<double>> rows;  // of the step, on average over the cases
    for (Index layer = 0; layer < t.w.moe_blocks; ++layer) {
      rows.emplace_back();
      for (std::size_t e = 0; e < t.w.moe.experts.size(); ++e) {
        rows.back().push_back(0.5 * static_cast<double>(t.w.passes) *
                              (t.loads[0].rows[e].mean + t.loads[1].rows[e].mean));
      }
    }
    const ExpertMap map = ExpertMap::contiguous(8, cluster.num_ranks());
    for (std::size_t i = 0; i < t.log.ranks.size(); ++i) {
      const RankId rank = t.log.ranks[i];
      const std::vector<Span> row = t.timeline().of_rank(i);
      expect_sound(row, t.price.step_s);
      const std::array<double, num_phases> sums = sums_by_phase(row);
      const PhaseWork work = step_work(t.w, map, rank, rows);
      for (const auto& entry : enum_names(Phase{})) {
        if (entry.value == Phase::wait) continue;
        // An expert that gets a row now and then costs less of what it always costs.
        const double tolerance = entry.value == Phase::experts ? 1e-3 : 1e-9;
        const double own_s = speed.seconds(entry.value, of(work, entry.value)) / speed.factor(cluster.node_of(rank));
        EXPECT_NEAR(sums[static_cast<std::size_t>(entry.value)], own_s, tolerance * own_s + 1e-9 * t.price.step_s)
            << what << ", rank " << rank.value() << ": " << entry.name;
      }
    }
  });
}

TEST(StepTimeline, TransfersFollowOneAnotherAndAddUpToTheCommunication) {
  Index hidden = 0;
  for_each_case([&](const Traced& t, const std::string& what) {
    const StepTimeline::Transfers transfers = t.timeline().transfers();
    double all_s = 0.0;
    for (const std::vector<Span>* row : {&transfers.rows, &transfers.sums}) {
      double now_s = 0.0;
      for (const Span& span : *row) {
        EXPECT_GE(span.begin_s, now_s) << what << ": " << span.name();
        EXPECT_LE(span.end_s, t.price.step_s * (1.0 + 1e-12)) << what << ": " << span.name();
        now_s = span.end_s;
        all_s += span.seconds();
      }
    }
    EXPECT_NEAR(all_s, t.price.communication_s, 1e-9 * t.price.step_s) << what;
    if (t.price.exposed_s < t.price.communication_s * 0.99) ++hidden;
  });
  EXPECT_GT(hidden, 0);
}

TEST(StepTimeline, LayersGoForwardThenBackwardAndTheirTransfersLieInThem) {
  Workload w = small_workload();
  w.transport.waves = 3;
  const Machine machine = small_machine();
  const Traced t(w, known_cluster(4), &machine);
  std::vector<std::string> layers;
  std::vector<Span> row = t.timeline().slowest();
  for (const Span& span : row) {
    if (span.kind == SpanKind::layer && span.pass == 1) layers.push_back(span.name());
  }
  EXPECT_EQ(layers, (std::vector<std::string>{"layer 0 forward", "layer 1 forward", "layer 2 forward",
                                              "layer 2 backward", "layer 1 backward", "layer 0 backward"}));
  Index rows = 0;
  for (const Span& transfer : t.timeline().transfers().rows) {
    if (transfer.layer == -1 || transfer.of != "rows") continue;
    const auto layer = std::ranges::find_if(row, [&](const Span& s) {
      return s.kind == SpanKind::layer && s.layer == transfer.layer && s.pass == transfer.pass &&
             s.direction == transfer.direction;
    });
    ASSERT_NE(layer, row.end());
    EXPECT_GE(transfer.begin_s, layer->begin_s);
    EXPECT_LE(transfer.end_s, layer->end_s + 1e-12 * t.price.step_s);
    EXPECT_GT(transfer.bytes, 0.0);
    ++rows;
  }
  EXPECT_EQ(rows, 2 * 2 * 2 * 2 * 3) << "passes, layers, directions, ways, waves";
}

TEST(StepTimeline, RowsArriveBeforeTheirExpertsBeginWhereTheyHaveTime) {
  Workload w = small_workload();
  w.width = 512;
  w.heads = 8;
  w.moe.experts.assign(8, {512, 2048, 2, 2 * 512 * 2048});
  w.transport.waves = 4;
  const Machine machine = small_machine();
  const Traced t(w, known_cluster(2), &machine);
  std::map<std::tuple<Index, Index, Direction, Index>, double> arrived;
  std::map<std::tuple<Index, Index, Direction, Index>, double> left;
  for (const Span& s : t.timeline().transfers().rows) {
    if (s.of != "rows") continue;
    const bool is_in = (s.phase == Phase::dispatch) == (s.direction == Direction::forward);
    (is_in ? arrived : left)[{s.pass, s.layer, *s.direction, s.wave}] = is_in ? s.end_s : s.begin_s;
  }
  Index waves = 0;
  for (const Span& s : t.timeline().slowest()) {
    if (s.phase != Phase::experts) continue;
    const std::tuple key{s.pass, s.layer, *s.direction, s.wave};
    const double results_s = s.direction == Direction::forward ? s.end_s : 0.5 * (s.begin_s + s.end_s);
    EXPECT_LE(arrived.at(key), s.begin_s + 1e-12 * t.price.step_s);
    EXPECT_GE(left.at(key), results_s - 1e-12 * t.price.step_s);
    ++waves;
  }
  EXPECT_EQ(waves, 2 * 2 * 2 * 4);
}

TEST(StepTimeline, LoggingChangesNoPriceAndBlocksMustBeThose) {
  const Machine machine = small_machine();
  const Traced t(small_workload(), known_cluster(4), &machine);
  const TrainingPrice price = price_training_step({t.w, t.network, t.machine, t.loads});
  EXPECT_EQ(price.step_s, t.price.step_s);
  EXPECT_EQ(price.phases_s, t.price.phases_s);
  EXPECT_THROW(StepTimeline(t.log, t.w, {true, true}), InvariantError);
  EXPECT_THROW(StepTimeline(t.log, t.w, {true, true, true}), InvariantError);
}

}  // namespace
}  // namespace conclave::sim
