// SPDX-License-Identifier: BSD-3-Clause
// `conclave simulate run` as a user calls it, and the trace that it reads.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/apps/simulations.hpp"
#include "tests/support/file_content.hpp"

namespace conclave {
namespace {

using nlohmann::json;
using test::cluster_text;
using test::conclave;
using test::content_of;
using test::Outcome;
using test::small_run;

class SimulateRun : public test::Simulations {
 protected:
  Outcome simulate(const std::string& arguments) { return Simulations::simulate("run", arguments); }
  json simulated(const std::string& arguments) { return Simulations::simulated("run", arguments); }
};

TEST_F(SimulateRun, PhasesOfEveryPointAddUpToItsStep) {
  const json result = simulated("--ranks 1:64:x2 --machine " + folder_.path("machine.json"));
  EXPECT_EQ(result["calibrated"], true);
  ASSERT_EQ(result["points"].size(), 7U);
  for (const json& point : result["points"]) {
    double sum = 0.0;
    for (const auto& [name, time_s] : point["phases"].items()) sum += time_s.get<double>();
    EXPECT_NEAR(sum, point["step_s"].get<double>(), 1e-9 * sum);
    EXPECT_LT(point["low_s"].get<double>(), point["step_s"].get<double>());
    EXPECT_FALSE(point["limited_by"].get<std::string>().empty());
    EXPECT_EQ(point["fits"], true);
  }
  EXPECT_EQ(result["points"][0]["communication_s"], 0.0);
  EXPECT_EQ(result["points"][0]["speed_up"], 1.0);
  EXPECT_GT(result["points"][2]["speed_up"], 1.5) << "4 ranks of a node";
}

TEST_F(SimulateRun, SaysWhatIsNotCalibratedAndTellsOnce) {
  const Outcome outcome =
      test::on_ranks(3, CONCLAVE_PROGRAM,
                     fmt::format("simulate run --cluster {} --threads 1 {} --ranks 4,8 --skew zipf:1.0",
                                 folder_.path("cluster.json"), small_run));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(test::count(outcome.output, "not calibrated: products at the cluster's rank_flops_per_s"), 1)
      << outcome.output;
  EXPECT_EQ(test::count(outcome.output, "popularity zipf:1.0"), 1) << outcome.output;
}

TEST_F(SimulateRun, SkewCostsTimeOrDrops) {
  const json fair = simulated("--ranks 8 --capacity-factor 0")["points"][0];
  const json skewed = simulated("--ranks 8 --capacity-factor 0 --skew gini:0.6")["points"][0];
  EXPECT_GT(skewed["step_s"].get<double>(), fair["step_s"].get<double>());
  EXPECT_EQ(skewed["dropped"], 0.0);
  const json dropping = simulated("--ranks 8 --capacity-factor 1.0 --skew gini:0.6")["points"][0];
  EXPECT_GT(dropping["dropped"].get<double>(), 0.2);
}

TEST_F(SimulateRun, ReadsWhatARunHasRecorded) {
  const std::string trace = folder_.path("routing.jsonl");
  const std::string train = fmt::format(
      "train {} --threads 1 --steps 4 --eval-every 0 --eval-sequences 2 --out {{}} "
      "--record-routing {{}}",
      small_run);
  const Outcome run = conclave(fmt::format(fmt::runtime(train), folder_.path("run"), trace));
  ASSERT_EQ(run.exit_code, 0) << run.output;
  const json point = simulated("--ranks 4 --routing " + trace)["points"][0];
  const json fair = simulated("--ranks 4")["points"][0];
  EXPECT_NE(point["step_s"], fair["step_s"]);
  EXPECT_NEAR(point["step_s"].get<double>(), fair["step_s"].get<double>(), 0.5 * fair["step_s"].get<double>());

  const std::string on_three = folder_.path("three.jsonl");
  const Outcome same =
      test::on_ranks(3, CONCLAVE_PROGRAM, fmt::format(fmt::runtime(train), folder_.path("run3"), on_three));
  ASSERT_EQ(same.exit_code, 0) << same.output;
  ASSERT_GT(content_of(trace).size(), 500U);
  EXPECT_EQ(content_of(trace), content_of(on_three));
}

TEST_F(SimulateRun, ATableAPictureAndNumbersForOtherPrograms) {
  const Outcome outcome = simulate(fmt::format("--ranks 2:16:x2 --csv {} --hdf5 {} --picture {}", folder_.path("t.csv"),
                                               folder_.path("t.h5"), folder_.path("p.svg")));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(test::count(content_of(folder_.path("t.csv")), "\n"), 5);
  EXPECT_EQ(content_of(folder_.path("t.h5")).substr(1, 3), "HDF");
  EXPECT_NE(content_of(folder_.path("p.svg")).find("</svg>"), std::string::npos);
}

TEST_F(SimulateRun, MovesAndCopiesExpertsWhereThatPays) {
  const auto step_s = [&](const std::string& placement) {
    const Outcome outcome = conclave(
        fmt::format("simulate run --json --ranks 4 --threads 1 --cluster {} --skew zipf:3 --capacity-factor 0 --layers "
                    "2 --width 256 "
                    "--heads 4 --context 64 --experts 8 --expert-hidden 2048 --sequences 512 --groups 8 --placement {}",
                    folder_.path("cluster.json"), placement));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    return json::parse(outcome.output)["points"][0]["step_s"].get<double>();
  };
  const double moved = step_s("auto");
  EXPECT_LT(moved, step_s("even"));
  EXPECT_LT(step_s("auto --placement-replicas 3"), 0.8 * moved);
}

TEST_F(SimulateRun, SaysWhatDoesNotFit) {
  std::string cluster = cluster_text();
  cluster.replace(cluster.find("4e9}"), 4, "4e6}");
  folder_.write("cluster.json", cluster);
  EXPECT_EQ(simulated("--ranks 4")["points"][0]["fits"], false);
  EXPECT_NE(simulate("--ranks 4").output.find("does not fit"), std::string::npos);
}

TEST_F(SimulateRun, RefusesWhatItCannotPrice) {
  for (const auto& [arguments, reason] : {std::pair{"--ranks 6", "6 ranks on nodes of 4"},
                                          {"--ranks 0", "ranks = '0'"},
                                          {"--skew zipf", "skew = 'zipf'"},
                                          {"--router hash", "router = hash with a made-up popularity"},
                                          {"--machine nowhere.json", "nowhere.json"},
                                          {"--routing nowhere.jsonl", "nowhere.jsonl"},
                                          {"--stop-after 3", "has no effect here"},
                                          {"--record-routing x", "has no effect here"}}) {
    const Outcome outcome = simulate(arguments);
    EXPECT_NE(outcome.exit_code, 0) << arguments;
    EXPECT_NE(outcome.output.find(reason), std::string::npos) << outcome.output;
  }
}

}  // namespace
}  // namespace conclave
