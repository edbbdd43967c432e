// SPDX-License-Identifier: BSD-3-Clause
// What the simulator says that ranks do is what they do.
#include "apps/training_workload.hpp"

#include "apps/rank_counts.hpp"
#include "apps/routing_source.hpp"
#include "apps/train_case.hpp"
#include "gating/popularity.hpp"
#include "runtime/sim/step_work.hpp"
#include "tests/support/mpi_world.hpp"

#include <gtest/gtest.h>

namespace conclave::apps {
namespace {

using test::world;

train::TrainOptions some_run() {
  train::TrainOptions o;
  o.model.layers = 4;
  o.model.width = 24;
  o.model.heads = 2;
  o.model.context = 16;
  o.model.moe_every = 2;
  o.model.dense_hidden = 56;
  o.model.dense_kind = experts::ExpertKind::swiglu;
  o.model.router.experts = 5;
  o.model.router.capacity_factor = 0.9;
  o.model.router.min_capacity = 0;
  o.model.experts.expert_hidden = {40};
  o.model.experts.shared_experts = 1;
  o.model.experts.shared_hidden = 32;
  o.sequences = 14;
  o.groups = 14;
  o.passes = 2;
  o.record_routing = "routing";
  return o;
}

std::vector<std::vector<double>> rows_of(const gating::RoutingSizes& sizes, const gating::RoutingStep& step) {
  std::vector<std::vector<double>> rows;
  for (Index l = 0; l < sizes.layers; ++l) {
    const std::vector<Index> kept = by_expert(sizes, step.kept, l);
    rows.emplace_back(kept.begin(), kept.end());
  }
  return rows;
}

TEST(TrainingWorkload, FlopsOfAllRanksAreThoseOfTheStep) {
  for (const bool tied : {false, true}) {
    train::TrainOptions options = some_run();
    options.model.tied_head = tied;
    const auto samples = make_samples(options);
    train::Trainer trainer(options, *samples, world());
    const train::StepRecord& record = trainer.step();
    const sim::Workload workload = training_workload(options, samples->shape());
    const auto rows = rows_of(trainer.routing_sizes(), *record.routing);
    const ExpertMap map = ExpertMap::contiguous(5, world().size());
    double all = 0.0;
    for (RankId rank; rank < RankId{world().size()}; ++rank) {
      all += sim::flops(sim::step_work(workload, map, rank, rows));
    }
    const double expected = step_flops(options, trainer.model(), record);
    ASSERT_GT(expected, 1e6);
    EXPECT_NEAR(all, expected, 1e-9 * expected) << (tied ? "tied" : "with a head of its own");
  }
}

TEST(TrainingWorkload, HasTheModelsParametersAndSlots) {
  const train::TrainOptions options = some_run();
  const auto samples = make_samples(options);
  train::Trainer trainer(options, *samples, world());
  const sim::Workload workload = training_workload(options, samples->shape());
  EXPECT_EQ(workload.parameters(), static_cast<double>(trainer.model().num_parameters()));
  EXPECT_EQ(workload.replicated_parameters, trainer.model().replicated().size());
  EXPECT_EQ(workload.moe_blocks, 2);
  EXPECT_EQ(workload.dense_blocks, 2);
  EXPECT_EQ(workload.tokens(), 14 * 16);
  EXPECT_EQ(workload.moe.slots, 6) << "ceil(0.9 x 2 x 16 / 5)";
}

std::string refusal(const train::TrainOptions& options) {
  try {
    static_cast<void>(training_workload(options, {.vocabulary = 10}));
    refuse_router_without_trace(options);
  } catch (const InputError& error) {
    EXPECT_FALSE(error.hint().empty());
    return error.what();
  }
  return "none";
}

TEST(TrainingWorkload, RefusesWhatHasNoPrice) {
  EXPECT_EQ(refusal(some_run()), "none");
  train::TrainOptions o = some_run();
  o.model.experts.expert_sharing = experts::ExpertSharing::base_and_delta;
  EXPECT_EQ(refusal(o), "expert_sharing = base+delta");
  o = some_run();
  o.optimizer.freeze = {"gate"};
  EXPECT_EQ(refusal(o), "freeze = gate");
  o = some_run();
  o.task = train::Task::classify;
  EXPECT_EQ(refusal(o), "task = classify");
  o = some_run();
  o.model.router.overflow = gating::Overflow::reroute;
  EXPECT_EQ(refusal(o), "overflow = reroute with a made-up popularity of experts");
  o = some_run();
  o.model.router.router = "hash";
  EXPECT_EQ(refusal(o), "router = hash with a made-up popularity of experts");
}

TEST(RoutingSource, TakesOneOfTraceAndSkew) {
  const train::TrainOptions options = some_run();
  const sim::Workload workload = training_workload(options, {.vocabulary = 10});
  const auto loads_from = [&](const RoutingSource& source) {
    return expert_loads(source, recorded_routing(source).get(), options, workload);
  };
  EXPECT_THROW(static_cast<void>(loads_from({"a", "uniform"})), InputError);
  EXPECT_THROW(static_cast<void>(loads_from({"/no/such/file", ""})), InputError);
  const auto fair = loads_from({"", ""});
  ASSERT_EQ(fair.size(), 1U);
  EXPECT_EQ(fair[0].claimed, 7.0 * 16.0 * 2.0) << "of one of two passes";
  EXPECT_GT(loads_from({"", "zipf:1"})[0].drop_rate(), fair[0].drop_rate());
}

TEST(RankCounts, AreListsAndRanges) {
  EXPECT_EQ(parse_rank_counts("2:64:x2"), (std::vector<Index>{2, 4, 8, 16, 32, 64}));
  EXPECT_EQ(parse_rank_counts("4:16:4"), (std::vector<Index>{4, 8, 12, 16}));
  EXPECT_EQ(parse_rank_counts("3:10:x3"), (std::vector<Index>{3, 9}));
  EXPECT_EQ(parse_rank_counts("12,1,4:8:4"), (std::vector<Index>{1, 4, 8, 12}));
  for (const char* bad : {"", "0", "-1", "a", "4:2:x2", "1:8", "1:8:x1", "1:8:0", "1:8:", "1:10000000:1", "2,,3"}) {
    EXPECT_THROW(static_cast<void>(parse_rank_counts(bad)), InputError) << bad;
  }
}

}  // namespace
}  // namespace conclave::apps
