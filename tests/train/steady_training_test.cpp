// SPDX-License-Identifier: BSD-3-Clause
// A steady training step allocates nothing: data, model, sums of gradients, optimizer, report. Not counted, because it
// lies outside of a step: evaluation, checkpoints, what the run's log makes of the record. Not asked for, because it
// must allocate: the drop ledger, whose entries nobody knows beforehand; an alarm's sentence; exchange `auto`, which
// makes other inboxes until it has decided. The history of losses grows by doubling: in most steps not at all.
#include "runtime/train/trainer.hpp"
#include "tests/support/count_allocations.hpp"
#include "tests/train/feature_file.hpp"
#include "tests/train/short_run.hpp"

#include <functional>
#include <limits>

namespace conclave::train {
namespace {

using test::world;

struct Training {
  std::string name;
  std::function<void(TrainOptions&)> change;
};

void PrintTo(const Training& t, std::ostream* out) { *out << t.name; }

std::vector<Training> trainings() {
  std::vector<Training> all = {
      {"plain", [](TrainOptions&) {}},
      {"passes_and_sgd",
       [](TrainOptions& o) {
         o.passes = 2;
         o.optimizer.optimizer = "sgd";
       }},
      {"selection_bias_and_watch",
       [](TrainOptions& o) {
         o.model.router.selection_bias = true;
         o.collapse.collapse_alarm = 0.01;
       }},
      {"balance_and_slots_over_step",
       [](TrainOptions& o) {
         o.model.router.balance_scope = gating::BalanceScope::step;
         o.model.router.capacity_scope = gating::CapacityScope::step;
         o.model.router.capacity_factor = 0.8;
       }},
      {"base_and_delta",
       [](TrainOptions& o) {
         o.model.experts.expert_sharing = experts::ExpertSharing::base_and_delta;
         o.model.experts.expert_rank = 2;
       }},
      {"resting_gate_and_frozen_dense",
       [](TrainOptions& o) {
         o.optimizer.gate_every = 2;
         o.optimizer.freeze = {"dense"};
       }},
      {"dense_model", [](TrainOptions& o) { o.model.moe_every = 0; }},
      {"sums_that_travel_during_backward",
       [](TrainOptions& o) {
         o.model.width = 256;
         o.model.moe_every = 2;
       }},
  };
  for (const comm::ExchangeStrategy& strategy : comm::exchange_strategies()) {
    if (strategy.name == "auto") continue;
    all.push_back({fmt::format("exchange_{}", strategy.name), [name = std::string(strategy.name)](TrainOptions& o) {
                     o.transport.exchange = name;
                     o.transport.waves = 2;
                   }});
  }
  return all;
}

/// The fewest allocations of a step: the first ones warm up, and later ones grow what they have more rows for than any
/// step before. So it looks for one that allocates nothing, and gives up after many.
long allocations_of_a_step(Trainer& trainer) {
  long fewest = std::numeric_limits<long>::max();
  for (int step = 0; step < 60 && !world().all(fewest == 0); ++step) {
    const test::Counting count;
    trainer.step();
    fewest = std::min(fewest, count.allocations());
  }
  return fewest;
}

class SteadyTrainer : public testing::TestWithParam<Training> {};
INSTANTIATE_TEST_SUITE_P(Trainings, SteadyTrainer, testing::ValuesIn(trainings()),
                         [](const auto& tested) { return tested.param.name; });

TEST_P(SteadyTrainer, AllocatesNothing) {
  for (const Index threads : test::thread_counts()) {
    use_threads(threads);
    test::touch_scratch();
    TrainOptions options = short_run_options();
    options.transport.exchange = "flat";
    options.collapse.collapse_window = 2;  // as long as it fills, it allocates
    GetParam().change(options);
    ShortRun run(options, world());
    EXPECT_EQ(allocations_of_a_step(run.trainer()), 0) << threads << " threads";
  }
  use_threads(1);
}

TEST(SteadyTraining, OfVectorsAllocatesNothing) {
  const TemporaryFolder folder("_data");
  write(three_classes(120, 1), folder.path("data.h5"));
  TrainOptions options = short_run_options();
  options.transport.exchange = "flat";
  options.collapse.collapse_window = 2;
  options.task = Task::classify;
  options.model.context = model::ModelOptions{}.context;
  options.model.heads = model::ModelOptions{}.heads;
  options.data.data = folder.path("data.h5");
  const auto samples = make_samples(options);
  for (const model::Fusion fusion : {model::Fusion::weighted, model::Fusion::vote}) {
    options.model.fusion = fusion;
    Trainer trainer(options, *samples, world());
    EXPECT_EQ(allocations_of_a_step(trainer), 0) << name_of(fusion);
  }
}

}  // namespace
}  // namespace conclave::train
