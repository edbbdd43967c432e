// SPDX-License-Identifier: BSD-3-Clause
// What is said of ranks that are not there is what these ranks say of themselves, asked about their own number.
#include "apps/training_needs.hpp"

#include "runtime/core/parallel.hpp"
#include "runtime/model/transport.hpp"
#include "tests/support/mpi_world.hpp"

#include <gtest/gtest.h>

namespace conclave::apps {
namespace {

using test::world;

TEST(TrainingNeeds, of_planned_ranks_are_those_of_real_ones) {
  train::TrainOptions options;
  options.model.layers = 2;
  options.model.width = 16;
  options.model.heads = 2;
  options.model.context = 8;
  options.groups = 6;
  const auto samples = make_samples(options);
  const plan::Topology topology = world().topology();
  for (const char* exchange : {"flat", "pairwise", "hierarchical", "auto"}) {
    options.transport.exchange = exchange;
    const model::Transport transport(options.transport, world());
    const plan::RowTransport real = transport.row_transport();
    const plan::RowTransport planned =
        model::planned_row_transport(options.transport, world(), topology, world().rank());
    EXPECT_EQ(planned.exchange, real.exchange);
    EXPECT_EQ(planned.num_ranks, real.num_ranks);
    EXPECT_EQ(planned.node_ranks, real.node_ranks);
    EXPECT_EQ(planned.waves, real.waves);
    EXPECT_EQ(planned.element_bytes, real.element_bytes);
    const double mine = plan::total_bytes(training_memory(options, samples->shape(), transport, world()));
    const double most = fullest_rank_bytes(options, samples->shape(), topology, num_threads(), world());
    EXPECT_EQ(most, world().max(mine)) << exchange;
    EXPECT_GT(most, 0.0);
  }
}

TEST(TrainingNeeds, tell_of_nodes_that_are_not_there) {
  model::TransportOptions options;
  options.exchange = "flat";
  const plan::Topology two_nodes({0, 0, 0, 1, 1});
  const plan::RowTransport planned = model::planned_row_transport(options, world(), two_nodes, RankId{4});
  EXPECT_EQ(planned.num_ranks, 5);
  EXPECT_EQ(planned.node_ranks, 2);
  EXPECT_EQ(planned.waves, 4);
}

TEST(TrainingNeeds, take_the_time_of_steps_and_saves) {
  train::TrainOptions options;
  options.steps = 1000;
  options.checkpoint_every = 100;
  EXPECT_DOUBLE_EQ(training_seconds(options, 2.0, std::nullopt), 2000.0 * 1.1 + 600.0);
  EXPECT_DOUBLE_EQ(training_seconds(options, 2.0, 10.0), 2110.0 * 1.1 + 600.0);
  options.stop_after = 100;
  EXPECT_DOUBLE_EQ(training_seconds(options, 2.0, std::nullopt), 200.0 * 1.1 + 600.0);
}

}  // namespace
}  // namespace conclave::apps
