// SPDX-License-Identifier: BSD-3-Clause
// `conclave simulate optimise` and `replay` as a user calls them.
#include "tests/apps/simulations.hpp"
#include "tests/support/file_content.hpp"

#include <functional>
#include <sstream>

namespace conclave {
namespace {

using nlohmann::json;
using test::content_of;
using test::Outcome;

class Tuning : public test::Simulations {};

TEST_F(Tuning, WhatItFindsIsWhatRunSaysOfTheSameOptions) {
  const std::string skewed = "--ranks 16 --bound --skew gini:0.4 --exchange pairwise --capacity-factor 0";
  const json found = simulated("optimise", skewed + " --drop-limit 0.3 --best 2");
  ASSERT_EQ(found["best"].size(), 2U);
  const json& best = found["best"][0];
  EXPECT_LT(best["step_s"].get<double>(), found["now"]["step_s"].get<double>());
  EXPECT_LE(best["step_s"].get<double>(), found["best"][1]["step_s"].get<double>());
  EXPECT_LE(best["dropped"].get<double>(), 0.3);
  EXPECT_EQ(simulated("run", skewed)["points"][0]["step_s"], found["now"]["step_s"]);

  // On a cluster with the ranks of a node that were chosen.
  json cluster = json::parse(test::cluster_text());
  cluster["ranks_per_node"] = best["ranks_per_node"];
  cluster["rank_flops_per_s"] = cluster["rank_flops_per_s"].get<double>() * best["threads"].get<double>();
  folder_.write("other.json", cluster.dump());
  std::string options = best["options"];
  const auto threads = options.find("--threads");
  options.erase(threads, options.find("--", threads + 2) - threads);
  const Outcome run = test::conclave(fmt::format(
      "simulate run --json --bound --cluster {} {} --threads {} --skew gini:0.4 --ranks {} {}",
      folder_.path("other.json"), test::small_run, best["threads"].get<Index>(), best["ranks"].get<Index>(), options));
  ASSERT_EQ(run.exit_code, 0) << run.output;
  EXPECT_EQ(json::parse(run.output)["points"][0]["step_s"], best["step_s"]);

  ASSERT_FALSE(best["reasons"].empty());
  for (const json& reason : best["reasons"]) {
    EXPECT_GE(reason["step_without_s"].get<double>(), best["step_s"].get<double>() * (1.0 - 1e-12)) << reason;
    EXPECT_NE(reason["change"].get<std::string>().find(" -> "), std::string::npos);
  }
}

TEST_F(Tuning, KeepsTheCapacityFactorUnlessDropsAreLimited) {
  const json found = simulated("optimise", "--ranks 8 --bound --capacity-factor 1.3");
  for (const json& best : found["best"]) EXPECT_EQ(best["capacity_factor"], 1.3);
  const json limited = simulated("optimise", "--ranks 8 --bound --capacity-factor 1.3 --drop-limit 0");
  ASSERT_FALSE(limited["best"].empty());
  for (const json& best : limited["best"]) EXPECT_EQ(best["dropped"], 0.0);
  const Outcome text = simulate("optimise", "--ranks 8 --bound");
  EXPECT_EQ(text.exit_code, 0) << text.output;
  EXPECT_NE(text.output.find("mpirun -n "), std::string::npos) << text.output;
}

TEST_F(Tuning, TakesOnlyWhatWasMeasuredAndWhatFits) {
  const json found = simulated("optimise", "--ranks 8 --bound --machine " + folder_.path("machine.json"));
  for (const json& best : found["best"]) EXPECT_EQ(best["ranks_per_node"], 4);
  std::string cluster = test::cluster_text();
  cluster.replace(cluster.find("4e9}"), 4, "4e3}");
  folder_.write("cluster.json", cluster);
  EXPECT_NE(simulate("optimise", "--ranks 8 --bound").output.find("is possible: too much memory"), std::string::npos);
}

// Counts of the trace's file, added up by plain loops.
struct PlainCounts {
  double claimed = 0.0;
  double dropped = 0.0;
};
PlainCounts counts_of(const json& step) {
  PlainCounts counts;
  const std::function<double(const json&)> sum = [&](const json& value) {
    if (!value.is_array()) return value.get<double>();
    double all = 0.0;
    for (const json& part : value) all += sum(part);
    return all;
  };
  counts.claimed = sum(step["claimed"]);
  counts.dropped = counts.claimed - sum(step["kept"]);
  return counts;
}

TEST_F(Tuning, ReplaysWhatWasRecorded) {
  const std::string trace = recorded();
  const json replayed =
      simulated("replay", trace + " --ranks 2,8 --factors 0.5,1.0,1.25,0 --replicas 2 --csv " + folder_.path("t.csv"));
  std::istringstream lines(content_of(trace));
  std::string line;
  PlainCounts mean;
  Index steps = 0;
  while (std::getline(lines, line)) {
    const json step = json::parse(line);
    if (!step.contains("kept")) continue;
    const PlainCounts counts = counts_of(step);
    mean.claimed += counts.claimed;
    mean.dropped += counts.dropped;
    ++steps;
  }
  ASSERT_EQ(steps, 4);
  EXPECT_NEAR(replayed["claimed"].get<double>(), mean.claimed / 4.0, 1e-9);
  EXPECT_NEAR(replayed["dropped"].get<double>(), mean.dropped / 4.0, 1e-9);

  ASSERT_EQ(replayed["slots"].size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) {
    const json& counted = replayed["slots"][i]["counted"];
    EXPECT_LE(counted["least_dropped"], counted["most_dropped"]);
    EXPECT_LE(counted["least_dropped"], replayed["slots"][i == 0 ? 0 : i - 1]["counted"]["least_dropped"]);
  }
  EXPECT_GT(replayed["slots"][0]["counted"]["least_dropped"].get<double>(), 0.0);
  EXPECT_EQ(replayed["slots"][3]["counted"]["most_dropped"], 0.0);
  // The run's own factor: what it dropped is within what its trace allows.
  EXPECT_LE(replayed["slots"][2]["counted"]["least_dropped"].get<double>(), mean.dropped / 4.0 + 1e-9);
  EXPECT_GE(replayed["slots"][2]["counted"]["most_dropped"].get<double>(), mean.dropped / 4.0 - 1e-9);

  ASSERT_EQ(replayed["placements"].size(), 6U);
  for (const json& p : replayed["placements"]) {
    const json& counted = p["counted"];
    EXPECT_GE(counted["mean_over"].get<double>(), 1.0);
    EXPECT_GE(counted["most_over"], counted["mean_over"]);
    EXPECT_GT(counted["rows_to_ranks"].get<double>(), 0.0);
    EXPECT_GE(counted["rows_to_ranks"].get<double>(), counted["rows_to_nodes"].get<double>());
    EXPECT_EQ(counted["rows_to_nodes"].get<double>() == 0.0, p["ranks"] == 2) << p;
    EXPECT_EQ(counted["rows_are_exact"].get<bool>(), p["replicas"] == 0) << p;
    EXPECT_GT(p["predicted"]["step_s"].get<double>(), 0.0);
  }
  EXPECT_EQ(test::count(content_of(folder_.path("t.csv")), "\n"), 7);
}

TEST_F(Tuning, TellsFactsApartFromPredictions) {
  const Outcome outcome = simulate("replay", recorded() + " --factors 1.0");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  for (const char* part : {"counted in the trace, facts", "predicted", "as recorded", "balanced", "contiguous"}) {
    EXPECT_NE(outcome.output.find(part), std::string::npos) << outcome.output;
  }
}

TEST_F(Tuning, RefusesWhatItCannotAnswer) {
  const std::string trace = recorded();
  for (const auto& [member, arguments, reason] :
       {std::tuple<std::string, std::string, const char*>{"optimise", "--drop-limit 1", "drop_limit = 1"},
        {"optimise", "--drop-limit 0.1 --routing " + trace, "simulate replay"},
        {"optimise", "--best 0", "best = 0"},
        {"optimise", "--ranks 6", "6 ranks on nodes of 4"},
        {"replay", "", "0 traces"},
        {"replay", "nowhere.jsonl", "nowhere.jsonl"},
        {"replay", trace + " --moe-every 2", "MoE layers"},
        {"replay", trace + " --factors 1 --overflow reroute", "overflow = reroute"},
        {"replay", trace + " --routing " + trace, "unknown option"}}) {
    const Outcome outcome = simulate(member, arguments);
    EXPECT_NE(outcome.exit_code, 0) << member << ' ' << arguments;
    EXPECT_NE(outcome.output.find(reason), std::string::npos) << outcome.output;
  }
}

}  // namespace
}  // namespace conclave
