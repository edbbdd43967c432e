// SPDX-License-Identifier: BSD-3-Clause
// What ranks agree on when experts move.
#include "apps/expert_mover.hpp"

#include "tests/apps/moving_run.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace conclave::apps {
namespace {

using test::moving_options;
using test::Rows;
using test::sizes_of;
using test::step_of;

struct Told {
  std::vector<std::string> told{}, recorded{};
  [[nodiscard]] ExpertMover::Tell tell() {
    return [this](const std::string& name, const std::string& text) { told.push_back(name + ": " + text); };
  }
  [[nodiscard]] ExpertMover::Tell record() {
    return [this](const std::string& name, const std::string& text) { recorded.push_back(name + ": " + text); };
  }
};

train::TrainOptions some_options() {
  train::TrainOptions options = moving_options();
  options.model.layers = 1;
  options.model.moe_every = 1;
  options.model.router.experts = 12;
  options.steps = 100;
  return options;
}

// The first experts are hot. Ranks have measured different times.
train::StepRecord skewed_step(const comm::Communicator& world, double seconds) {
  Rows rows(4, std::vector<Index>(12, 100));
  for (std::vector<Index>& of_source : rows) of_source[0] = of_source[1] = 3000;
  return step_of({rows}, seconds + static_cast<double>(world.rank().value()), 0.5 * seconds);
}

TEST(ExpertMover, RanksAgreeOnTheRootsDecisionAndAreToldWhatItBrought) {
  const comm::Communicator world = comm::Communicator::world();
  const train::TrainOptions options = some_options();
  ExpertMover mover(options, {}, {.vocabulary = 64}, sizes_of(options, 4), world);
  EXPECT_EQ(world.is_root(), mover.basis().find("what this run's phases take") == 0);
  Told told;
  const auto places = [&](Index done, double cost_s) {
    return mover.better_places(done, cost_s, told.tell(), told.record());
  };
  EXPECT_FALSE(places(1, 0.0).has_value()) << "no step is known";
  for (Index i = 0; i < 6; ++i) mover.add(skewed_step(world, 2.0));
  EXPECT_FALSE(places(6, 1e9).has_value()) << "no move pays for that";
  EXPECT_EQ(std::ssize(told.recorded), world.is_root() ? 1 : 0);
  const auto found = places(7, 1e-9);
  EXPECT_EQ(found.has_value(), world.size() > 1);
  const std::vector<std::string> all =
      world.gather_all(found ? fmt::format("{}", found->front().owner(ExpertId{1}).value()) : std::string("none"));
  for (const std::string& of_rank : all) EXPECT_EQ(of_rank, all.front());
  if (!found) return;
  ASSERT_EQ(found->size(), 1U);
  EXPECT_EQ(found->front().num_experts(), 12);
  EXPECT_NE(found->front().owner(ExpertId{0}), found->front().owner(ExpertId{1}));
  mover.moved(7, 0.1, told.tell());
  for (Index i = 0; i < 6; ++i) mover.add(skewed_step(world, 1.5));
  EXPECT_FALSE(places(13, 1e-9).has_value()) << "they are where they should be";
  if (!world.is_root()) return;
  ASSERT_EQ(told.told.size(), 2U);
  EXPECT_THAT(told.told[0], testing::StartsWith("experts moved after step 7: the fullest rank had "));
  EXPECT_THAT(told.told[1],
              testing::StartsWith("the move after step 7: a step took 2 s before (4 steps) and takes 1.5 s "
                                  "(4 steps): 500 ms less; about "));
}

TEST(ExpertMover, FilesThatAreWrongAreAnErrorOnEveryRank) {
  const comm::Communicator world = comm::Communicator::world();
  const train::TrainOptions options = some_options();
  const train::TemporaryFolder folder;
  const auto file = [&](const std::string& name, const std::string& text) {
    const std::string path = folder.path(fmt::format("{}-{}", name, world.rank().value()));
    std::ofstream(path) << text;
    return path;
  };
  const auto refused = [&](const PricingFiles& files) -> std::string {
    try {
      const ExpertMover mover(options, files, {.vocabulary = 64}, sizes_of(options, 4), world);
    } catch (const InputError& error) {
      return error.what();
    }
    return "not refused";
  };
  EXPECT_THAT(refused({.machine = "no-such-file.json"}), testing::HasSubstr("no-such-file.json"));
  EXPECT_THAT(refused({.machine = file("machine", "{\"version\": 3,")}), testing::HasSubstr("machine-0"));
  EXPECT_THAT(refused({.cluster = "cloud-9"}), testing::HasSubstr("cloud-9"));
  // So many ranks fill no nodes of 7, or are not 5 to a node.
  const std::string seven = file("seven", R"({"nodes": 1, "ranks_per_node": 1, "nic_Bps": 1e9, "latency_s": 1e-6})");
  const std::string said = refused({.cluster = seven});
  if (world.size() == 1) {
    EXPECT_EQ(said, "not refused");
  } else {
    EXPECT_THAT(
        said, testing::HasSubstr(fmt::format("{} ranks of it are 1 a node, these are {}", world.size(), world.size())));
  }
  const std::string pairs =
      file("pairs", R"({"nodes": 2, "ranks_per_node": 2, "nic_Bps": 1e9, "latency_s": 1e-6, "node_bus_Bps": 1e10,
                        "node_latency_s": 1e-7})");
  if (world.size() == 3) {
    EXPECT_NE(refused({.cluster = pairs}), "not refused");
  }
}

TEST(ExpertMover, FilesOfARunThatMovesNothingAreRefused) {
  train::TrainOptions options = some_options();
  EXPECT_NO_THROW(validate({.machine = "m.json", .cluster = "c.json"}, options));
  options.placement = train::ExpertPlacement::even;
  EXPECT_NO_THROW(validate({}, options));
  EXPECT_THROW(validate({.machine = "m.json"}, options), InputError);
  EXPECT_THROW(validate({.cluster = "c.json"}, options), InputError);
  options.placement = train::ExpertPlacement::automatic;
  options.model.moe_every = 0;
  EXPECT_THROW(validate({.machine = "m.json"}, options), InputError);
}

}  // namespace
}  // namespace conclave::apps
