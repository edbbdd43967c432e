// SPDX-License-Identifier: BSD-3-Clause
// `conclave simulate` as a user calls it.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>

#include "tests/apps/program.hpp"
#include "tests/sim/known_answers.hpp"
#include "tests/train/temporary_folder.hpp"

namespace conclave {
namespace {

using nlohmann::json;
using test::conclave;
using test::Outcome;
using train::TemporaryFolder;

std::string arguments_of(const sim::KnownAnswer& answer, const TemporaryFolder& folder) {
  folder.write("cluster.json", answer.cluster);
  std::string arguments =
      fmt::format("simulate {} --json --cluster {}", answer.simulation, folder.path("cluster.json"));
  if (!answer.popularity.empty()) {
    folder.write("popularity", answer.popularity);
    arguments += fmt::format(" --popularity {}", folder.path("popularity"));
  }
  for (auto [name, value] : answer.options) {
    std::replace(name.begin(), name.end(), '_', '-');
    arguments += fmt::format(" --{} {}", name, value);
  }
  return arguments;
}

TEST(Simulate, FindsTheKnownAnswers) {
  const TemporaryFolder folder;
  std::string last;
  for (const sim::KnownAnswer& answer : sim::known_answers()) {
    const std::string tier = answer.simulation == "exchange" ? answer.options.back().second : "auto";
    if (tier == "auto" && answer.simulation == "exchange") continue;  // as the library's test
    SCOPED_TRACE(answer.name + " " + tier);
    const Outcome outcome = conclave(arguments_of(answer, folder));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    const json result = json::parse(outcome.output);
    EXPECT_NEAR(result["time_s"].get<double>(), answer.time_s, answer.tolerance * answer.time_s);
    EXPECT_EQ(result["simulation"], answer.simulation);
    if (tier != "auto") {
      EXPECT_EQ(result["tier"], tier);
    }
    EXPECT_TRUE(result["bottleneck"].is_string());
    double phases_s = -result.value("hidden_s", 0.0);
    for (const auto& [name, time_s] : result["phases"].items()) phases_s += time_s.get<double>();
    EXPECT_NEAR(phases_s, answer.time_s, answer.tolerance * answer.time_s);
  }
}

TEST(Simulate, TellsWhatWasFoundToPeopleOnceOnManyRanks) {
  const Outcome outcome =
      test::on_ranks(3, CONCLAVE_PROGRAM, "simulate exchange --cluster laptop --bytes-per-rank 8e6 --tier fluid");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(
      test::count(outcome.output, "Exchange flat of 8e+06 bytes a rank, 8 ranks on 1 nodes, crossbar, tier fluid"), 1)
      << outcome.output;
  EXPECT_EQ(test::count(outcome.output, "limited by bus of node 0"), 1) << outcome.output;
  EXPECT_EQ(test::count(outcome.output, "nothing was measured"), 1) << outcome.output;
}

TEST(Simulate, NamesTheDropRateBesideTheCapacityFactor) {
  const TemporaryFolder folder;
  folder.write("p", "5 1 1 1 0 0 0 0\n");
  const std::string step = "simulate step --cluster laptop --flops-per-rank 1e9 --capacity-factor 2 --popularity ";
  const Outcome outcome = conclave(step + folder.path("p"));
  EXPECT_EQ(test::count(outcome.output, "37.50 % dropped at capacity factor 2"), 1) << outcome.output;
  const json result = json::parse(conclave(step + folder.path("p") + " --json").output);
  EXPECT_DOUBLE_EQ(result["dropped"].get<double>(), 0.375);
  EXPECT_DOUBLE_EQ(result["phases"]["gemm"].get<double>(), 2.0 * 1e9 / 5e10);
}

TEST(Simulate, PricesAMillionRanksAndEveryPreset) {
  const TemporaryFolder folder;
  folder.write("c", sim::known_json(16384, 64,
                                    sim::known_fabric(R"("kind": "fat_tree", "down": [32, 32, 16], "up": [16, 16])")));
  const Outcome outcome = conclave("simulate exchange --json --cluster " + folder.path("c"));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  const json result = json::parse(outcome.output);
  EXPECT_EQ(result["ranks"], 1048576);
  EXPECT_EQ(result["tier"], "bound");
  EXPECT_GT(result["time_s"].get<double>(), 64.0 * 15e6 / 12.5e9);
  for (const std::string preset : {"laptop", "fat-node", "fat-tree-100g", "fat-tree-200g", "dragonfly"}) {
    const Outcome step = conclave("simulate step --bytes-per-rank 1e6 --flops-per-rank 1e9 --cluster " + preset);
    EXPECT_EQ(step.exit_code, 0) << preset << step.output;
  }
}

TEST(Simulate, RefusesWithARemedy) {
  const TemporaryFolder folder;
  folder.write("bad", R"({"nodes": 4, "nic_bps": 1e9})");
  folder.write("two", "1 1");
  const auto expect_refusal = [](const std::string& arguments, const std::string& text) {
    const Outcome outcome = conclave("simulate " + arguments);
    EXPECT_NE(outcome.exit_code, 0) << arguments;
    EXPECT_EQ(test::count(outcome.output, text), 1) << outcome.output;
    EXPECT_EQ(test::count(outcome.output, "hint: "), 1) << outcome.output;
  };
  expect_refusal("exchange", "cluster: '' is no file and no preset");
  expect_refusal("exchange --cluster labtop", "'labtop' is no file and no preset; did you mean laptop?");
  expect_refusal("exchange --cluster " + folder.path("bad"), "a cluster has no key 'nic_bps'; did you mean nic_Bps?");
  expect_refusal("exchange --cluster laptop --popularity " + folder.path("two"), "has 2 weights for 8 ranks");
  expect_refusal("exchange --cluster laptop --popularity /nonexistent", "cannot open '/nonexistent'");
  expect_refusal("exchange --cluster laptop --bytes-per-rank -1", "bytes_per_rank = -1");
  expect_refusal("exchange --cluster laptop --tier rounds", "tier rounds of the strategy flat");
  expect_refusal("step --cluster laptop --waves 0", "waves = 0");
  expect_refusal("step --cluster laptop --wavs 2", "unknown option '--wavs'; did you mean --waves?");
  expect_refusal("stap", "unknown simulate 'stap'; did you mean step?");
}

}  // namespace
}  // namespace conclave
