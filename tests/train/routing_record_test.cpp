// SPDX-License-Identifier: BSD-3-Clause
// What a run records of its routing: the same on any number of ranks, and nothing of the run is changed by it.
#include "tests/train/short_run.hpp"

#include <gtest/gtest.h>

#include <numeric>

namespace conclave::train {
namespace {

using test::world;

TrainOptions recorded_run() {
  TrainOptions o = short_run_options();
  o.model.router.experts = 5;
  o.model.router.capacity_factor = 0.9;
  o.model.router.min_capacity = 0;
  o.sequences = 20;
  o.groups = 10;  // two groups more than there are classes
  o.passes = 2;
  o.record_routing = "routing";  // the trainer counts, others write
  return o;
}

std::vector<gating::RoutingStep> routing_of(TrainOptions options, const comm::Communicator& communicator,
                                            StoredTensors* tensors = nullptr) {
  ShortRun run(std::move(options), communicator);
  std::vector<gating::RoutingStep> steps;
  for (int i = 0; i < 3; ++i) {
    const StepRecord& record = run.trainer().step();
    if (record.routing) steps.push_back(*record.routing);
    if (!record.routing) continue;
    check(run.trainer().routing_sizes(), *record.routing);
    for (Index l = 0; l < 2; ++l) {
      const model::LayerStatistics& layer = record.layers[static_cast<std::size_t>(l)];
      const gating::RoutingSizes sizes = run.trainer().routing_sizes();
      EXPECT_EQ(by_expert(sizes, record.routing->claimed, l), layer.load);
      const std::vector<Index> kept = by_expert(sizes, record.routing->kept, l);
      EXPECT_EQ(std::accumulate(kept.begin(), kept.end(), Index{0}), layer.claims() - layer.over_capacity);
      EXPECT_GT(layer.over_capacity, 0) << "there is something that is claimed and not kept";
    }
  }
  if (tensors != nullptr) *tensors = run.tensors();
  return steps;
}

TEST(RoutingRecord, HasTheSameCountsOnAnyNumberOfRanks) {
  const comm::Communicator alone = world().split(world().rank().value());
  for (const char* router : {"topk", "hash"}) {
    TrainOptions options = recorded_run();
    options.model.router.router = router;
    const std::vector<gating::RoutingStep> mine = routing_of(options, alone);
    ASSERT_EQ(mine.size(), 3U);
    EXPECT_EQ(mine[2].step, 3);
    EXPECT_EQ(routing_of(options, world()), mine) << router;
  }
}

TEST(RoutingRecord, ChangesNothing) {
  StoredTensors with;
  StoredTensors without;
  TrainOptions options = recorded_run();
  ASSERT_EQ(routing_of(options, world(), &with).size(), 3U);
  options.record_routing.clear();
  EXPECT_EQ(routing_of(options, world(), &without).size(), 0U);
  ASSERT_GT(with.size(), 10U);
  EXPECT_EQ(with, without);
}

TEST(RoutingRecord, ClassesAreEvenSharesOfTheGroups) {
  for (const Index groups : {1, 5, 8, 10, 17}) {
    const gating::RoutingSizes sizes{1, 1, groups, 1, std::min<Index>(groups, 8)};
    for (Index c = 0; c < sizes.classes; ++c) {
      const Range share = even_share(groups, sizes.classes, c);
      for (Index g = share.begin; g < share.end; ++g) EXPECT_EQ(gating::source_class(sizes, GroupId{g}), c) << groups;
    }
  }
}

TEST(RoutingRecord, AModelThatRoutesNothingIsRefused) {
  TrainOptions options = recorded_run();
  options.model.moe_every = 0;
  EXPECT_THROW(validate(options), InputError);
  options.record_routing.clear();
  EXPECT_NO_THROW(validate(options));
}

}  // namespace
}  // namespace conclave::train
