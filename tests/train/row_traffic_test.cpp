// SPDX-License-Identifier: BSD-3-Clause
// What is counted of rows between ranks is what the recorded routing and the experts' places say.
#include "runtime/train/row_traffic.hpp"

#include "tests/train/short_run.hpp"

#include <gtest/gtest.h>

#include <numeric>

namespace conclave::train {
namespace {

using test::world;

constexpr Index steps = 3;
constexpr Index passes = 2;

// A class of sources is a group, so that the routing tells who sends what.
TrainOptions recorded_options() {
  TrainOptions o = short_run_options();
  o.model.router.experts = 5;
  o.model.router.capacity_factor = 0.9;
  o.model.router.min_capacity = 0;
  o.sequences = 16;
  o.groups = 8;
  o.passes = passes;
  o.record_routing = "routing";  // the trainer counts, others write
  return o;
}

Index sum(const std::vector<Index>& values) { return std::accumulate(values.begin(), values.end(), Index{0}); }

std::size_t cell(Index from, Index to) { return static_cast<std::size_t>(from * world().size() + to); }

void add_expected(Trainer& trainer, const gating::RoutingStep& routing, std::vector<Index>& rows) {
  const gating::RoutingSizes sizes = trainer.routing_sizes();
  ASSERT_EQ(sizes.classes, sizes.groups);
  const Index in_pass = sizes.groups / passes;
  const auto layers = trainer.model().moe_layers();
  for (Index l = 0; l < sizes.layers; ++l) {
    const ExpertMap& map = layers[static_cast<std::size_t>(l)]->map();
    for (Index rank = 0; rank < world().size(); ++rank) {
      const Range mine = even_share(in_pass, world().size(), rank);
      for (Index g = 0; g < sizes.groups; ++g) {
        if (g % in_pass < mine.begin || g % in_pass >= mine.end) continue;
        for (ExpertId e; e < ExpertId{sizes.experts}; ++e) {
          rows[cell(rank, map.owner(e).value())] +=
              routing.kept[static_cast<std::size_t>(sizes.place(l, g, e.value()))];
        }
      }
    }
  }
}

TEST(RowTraffic, CountsWhatTheRoutingSays) {
  ShortRun run(recorded_options(), world());
  EXPECT_FALSE(run.trainer().take_traffic()) << "no step has been done";
  std::vector<Index> expected(cell(world().size(), 0), 0);
  for (Index step = 1; step <= steps; ++step) {
    const StepRecord& record = run.trainer().step();
    ASSERT_TRUE(record.routing);
    add_expected(run.trainer(), *record.routing, expected);
  }
  const std::optional<TrafficRecord> traffic = run.trainer().take_traffic();
  ASSERT_TRUE(traffic);
  EXPECT_EQ(traffic->step, steps);
  EXPECT_EQ(traffic->steps, steps);
  EXPECT_EQ(traffic->ranks, world().size());
  EXPECT_EQ(traffic->nodes, 0);
  EXPECT_EQ(traffic->row_bytes, 24 * 4) << "the model's width, in floats";
  EXPECT_EQ(traffic->rows, expected);
  EXPECT_GT(sum(expected), 1000);
  EXPECT_FALSE(run.trainer().take_traffic()) << "it has been taken";
  static_cast<void>(run.trainer().evaluate());
  static_cast<void>(run.trainer().step());
  const std::optional<TrafficRecord> next = run.trainer().take_traffic();
  ASSERT_TRUE(next);
  EXPECT_EQ(next->steps, 1);
  EXPECT_LT(sum(next->rows), sum(expected)) << "and what is evaluated is not counted";
}

TEST(RowTraffic, CountsAHalvedWireAndSkippedSteps) {
  TrainOptions options = recorded_options();
  options.transport.wire = model::Wire::bf16;
  ShortRun run(options, world());
  run.trainer().skipped().add(1, "of no use");
  static_cast<void>(run.trainer().step());
  const std::optional<TrafficRecord> none = run.trainer().take_traffic();
  EXPECT_FALSE(none) << "no layer has done anything";
  static_cast<void>(run.trainer().step());
  const std::optional<TrafficRecord> traffic = run.trainer().take_traffic();
  ASSERT_TRUE(traffic);
  EXPECT_EQ(traffic->row_bytes, 24 * 2);
  EXPECT_EQ(traffic->steps, 2);
}

TEST(RowTraffic, AModelWithoutExpertsHasNone) {
  TrainOptions options = short_run_options();
  options.model.moe_every = 0;
  ShortRun run(options, world());
  static_cast<void>(run.trainer().step());
  EXPECT_FALSE(run.trainer().take_traffic());
}

// Places are nodes where there are too many ranks, and there is nothing where there are too many of these as well.
TEST(RowTraffic, OfManyRanksIsToldByNode) {
  ShortRun run(recorded_options(), world());
  static_cast<void>(run.trainer().step());
  const auto pointers = run.trainer().model().moe_layers();
  const std::vector<const model::MoeLayer<float>*> layers(pointers.begin(), pointers.end());
  const plan::Topology nodes = plan::Topology::filled(world().size(), 2);
  const auto counted = [&](Index limit) {
    RowTraffic traffic(nodes, world().rank(), 4, limit);
    traffic.add_pass(layers);
    traffic.end_step();
    return traffic.take(world(), 1);
  };
  const std::optional<TrafficRecord> by_rank = counted(world().size());
  ASSERT_TRUE(by_rank);
  const std::optional<TrafficRecord> by_node = counted(world().size() - 1);
  if (world().size() < 3) {
    EXPECT_EQ(by_node.has_value(), world().size() == 2) << "a node of both";
  }
  EXPECT_FALSE(counted(0));
  if (!by_node) return;
  ASSERT_EQ(by_node->nodes, nodes.num_nodes());
  std::vector<Index> expected(static_cast<std::size_t>(nodes.num_nodes() * nodes.num_nodes()), 0);
  for (Index from = 0; from < world().size(); ++from) {
    for (Index to = 0; to < world().size(); ++to) {
      expected[static_cast<std::size_t>(from / 2 * nodes.num_nodes() + to / 2)] += by_rank->rows[cell(from, to)];
    }
  }
  EXPECT_EQ(by_node->rows, expected);
  EXPECT_GT(sum(expected), 0);
}

}  // namespace
}  // namespace conclave::train
