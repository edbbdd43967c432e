// SPDX-License-Identifier: BSD-3-Clause
// `conclave simulate run --trace` as a user calls it.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/apps/simulations.hpp"
#include "tests/apps/traces.hpp"
#include "tests/support/file_content.hpp"

#include <cmath>
#include <filesystem>
#include <map>

namespace conclave {
namespace {

using nlohmann::json;
using test::conclave;
using test::content_of;
using test::expect_nested;
using test::Outcome;
using test::rows_of;
using test::seconds_of;
using test::small_run;
using test::TraceRows;

class SimulatedTrace : public test::Simulations {
 protected:
  Outcome simulate(const std::string& arguments) { return Simulations::simulate("run", arguments); }
  json traced(const std::string& arguments) {
    const Outcome outcome = simulate(fmt::format("{} --trace {}", arguments, folder_.path("trace.json")));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    return json::parse(content_of(folder_.path("trace.json")), nullptr, false);
  }
};

TEST_F(SimulatedTrace, RowsNestAndTheMeanIsTheTablesNumbers) {
  const std::string arguments = "--ranks 8 --waves 2 --skew zipf:0.7 --machine " + folder_.path("machine.json");
  const json point = simulated("run", arguments)["points"][0];
  const json trace = traced(arguments);
  const TraceRows rows = rows_of(trace);
  EXPECT_EQ(rows.size(), 2U + 2U + 8U);
  for (const auto& [names, events] : rows) {
    EXPECT_GT(events.size(), 0U) << names.first;
    expect_nested(events);
  }
  const std::vector<json>& mean = rows.at({"mean over ranks", "main thread"});
  for (const auto& [phase, time_s] : point["phases"].items()) {
    const double rounding_s = 1e-9 * static_cast<double>(mean.size());
    EXPECT_NEAR(seconds_of(mean, phase), time_s.get<double>(), rounding_s) << phase;
  }
  EXPECT_NEAR(seconds_of(mean, "step 1"), point["step_s"].get<double>(), 1e-9);
  EXPECT_GT(seconds_of(rows.at({"between ranks", "rows on their way"}), "dispatch"), 0.0);
  EXPECT_EQ(trace["otherData"]["step_s"], point["step_s"]);
  EXPECT_EQ(trace["otherData"]["phases"], point["phases"]);
}

TEST_F(SimulatedTrace, HasTheRanksThatAreAskedForAndTheSlowest) {
  const std::string slow = R"("latency_s": 2e-6, "faults": [{"host": 1, "factor": 0.25}])";
  std::string cluster = test::cluster_text();
  cluster.replace(cluster.find(R"("latency_s": 2e-6)"), std::string(R"("latency_s": 2e-6)").size(), slow);
  folder_.write("cluster.json", cluster);
  const auto ranks = [&](const std::string& arguments) {
    std::vector<std::string> names;
    for (const auto& [row, events] : rows_of(traced("--ranks 16 " + arguments))) {
      if (row.first.starts_with("rank ")) names.push_back(row.first);
    }
    return names;
  };
  EXPECT_EQ(ranks("--trace-ranks 2"), (std::vector<std::string>{"rank 0", "rank 1", "rank 4"}));
  EXPECT_EQ(ranks("--trace-ranks 0"), std::vector<std::string>{});
  EXPECT_EQ(ranks("").size(), 16U);
}

TEST_F(SimulatedTrace, IsTheSameWhoeverWritesItAndWhateverIsRecorded) {
  const std::string recorded = Simulations::recorded();
  const json one = traced("--ranks 8 --routing " + recorded);
  EXPECT_FALSE(one.is_discarded());
  const Outcome three =
      test::on_ranks(3, CONCLAVE_PROGRAM,
                     fmt::format("simulate run --cluster {} --threads 1 {} --ranks 8 --routing {} "
                                 "--trace {}",
                                 folder_.path("cluster.json"), small_run, recorded, folder_.path("three.json")));
  EXPECT_EQ(three.exit_code, 0) << three.output;
  EXPECT_EQ(content_of(folder_.path("trace.json")), content_of(folder_.path("three.json")));
  for (const auto& [names, events] : rows_of(one)) expect_nested(events);
}

TEST_F(SimulatedTrace, OneRankAndADenseModelHaveNobodyToWaitFor) {
  const TraceRows rows = rows_of(traced("--ranks 1 --moe-every 0"));
  EXPECT_EQ(rows.at({"between ranks", "rows on their way"}).size(), 0U);
  EXPECT_EQ(seconds_of(rows.at({"rank 0", "main thread"}), "wait"), 0.0);
  EXPECT_GT(seconds_of(rows.at({"rank 0", "main thread"}), "attention"), 0.0);
}

TEST_F(SimulatedTrace, ManyRanksAreASmallFile) {
  const Outcome outcome = conclave(
      fmt::format("simulate run --cluster fat-tree-100g --threads 1 --layers 2 --width 32 --heads 2 --context 16 "
                  "--experts 4096 --expert-hidden 64 --sequences 1024 --groups 1024 --bound --ranks 131072 --trace {}",
                  folder_.path("trace.json")));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_LT(std::filesystem::file_size(folder_.path("trace.json")), 1'000'000U);
  const TraceRows rows = rows_of(json::parse(content_of(folder_.path("trace.json"))));
  EXPECT_GE(rows.size(), 4U + 16U);
  EXPECT_LE(rows.size(), 4U + 17U);
}

TEST_F(SimulatedTrace, RefusesWhatATraceCannotBeOf) {
  const std::string trace = folder_.path("trace.json");
  for (const auto& [arguments, reason] :
       {std::pair{"--ranks 4,8 --trace " + trace, "ranks = 4,8, which are 2 numbers of ranks"},
        {"--trace " + trace, "give one number, as --ranks 64"},
        {"--ranks 4 --vary waves=1,2 --trace " + trace, "trace beside vary"},
        {"--ranks 4 --trace-ranks 3", "trace_ranks without trace"},
        {"--ranks 4 --trace-ranks -1 --trace " + trace, "trace_ranks = -1"},
        {"--ranks 4 --trace-ranks 1025 --trace " + trace, "give 1 to 1024 ranks"},
        {"--ranks 4 --trace " + folder_.path("nowhere/t.json"), "cannot write"}}) {
    const Outcome outcome = simulate(arguments);
    EXPECT_NE(outcome.exit_code, 0) << arguments;
    EXPECT_NE(outcome.output.find(reason), std::string::npos) << outcome.output;
    EXPECT_FALSE(std::filesystem::exists(trace)) << arguments;
  }
}

}  // namespace
}  // namespace conclave
