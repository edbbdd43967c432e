// SPDX-License-Identifier: BSD-3-Clause
// What is said of ranks that are not there is what these ranks say of themselves, asked about their own number.
#include "apps/training_needs.hpp"

#include "runtime/core/parallel.hpp"
#include "runtime/model/transport.hpp"
#include "runtime/train/hdf5.hpp"
#include "tests/support/mpi_world.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

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

/// Writes a run.h5 with these step times into the folder.
void write_run(const train::TemporaryFolder& folder, const std::vector<double>& seconds, const std::string& save_s) {
  std::filesystem::remove(folder.path("run.h5"));
  train::Hdf5File file = train::Hdf5File::create(folder.path("run.h5"));
  file.create_group("/config");
  file.create_group("/record");
  for (const auto& [name, value] :
       {std::pair<std::string, std::string>("ranks", "2"), {"threads_per_rank", "1"}, {"save_s", save_s}}) {
    file.write_attribute("/record", name, value);
  }
  file.write<double>("/steps/seconds", {std::ssize(seconds)}, seconds);
  file.close();
}

TEST(TrainingNeeds, take_the_median_of_steps_but_for_the_first_tenth) {
  const train::TemporaryFolder folder;
  write_run(folder, {100.0, 1.0, 4.0, 3.0, 2.0}, "5");
  const MeasuredRun run = measured_run(folder.path());
  EXPECT_EQ(run.steps, 4);
  EXPECT_EQ(run.step_s, 2.5);
  EXPECT_EQ(run.save_s, 5.0);
  write_run(folder, {7.0}, "5");
  EXPECT_EQ(measured_run(folder.path()).step_s, 7.0);
}

TEST(TrainingNeeds, refuse_times_that_are_none) {
  const train::TemporaryFolder folder;
  const auto message = [&](const std::vector<double>& seconds, const std::string& save_s) -> std::string {
    write_run(folder, seconds, save_s);
    try {
      static_cast<void>(measured_run(folder.path()));
    } catch (const InputError& error) {
      return error.what();
    }
    return "nothing was refused";
  };
  EXPECT_THAT(message({}, "5"), testing::HasSubstr("has no step of a run"));
  for (const double bad : {std::nan(""), -1.0, std::numeric_limits<double>::infinity()}) {
    EXPECT_THAT(message({1.0, bad, 2.0}, "5"), testing::HasSubstr(fmt::format("has {} s as the time of a step", bad)));
  }
  EXPECT_THAT(message({1.0, 2.0}, "inf"), testing::HasSubstr("has inf s as the time of a save"));
}

}  // namespace
}  // namespace conclave::apps
