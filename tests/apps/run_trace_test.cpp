// SPDX-License-Identifier: BSD-3-Clause
// `conclave train --trace` as a user calls it, and where the closing table says that the time went.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/apps/program.hpp"
#include "tests/apps/traces.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/temporary_folder.hpp"

#include <filesystem>
#include <set>
#include <sstream>

namespace conclave {
namespace {

using nlohmann::json;
using test::content_of;
using test::count;
using test::expect_nested;
using test::on_ranks;
using test::Outcome;
using test::rows_of;
using test::seconds_of;
using test::TraceRows;
using train::TemporaryFolder;

const std::string small =
    "train --steps 6 --layers 2 --width 40 --heads 2 --context 12 --experts 5 --expert-hidden 48 --sequences 12 "
    "--groups 6 --passes 2 --waves 2 --eval-sequences 7 --checkpoint-every 3 --eval-every 3 --threads 1 ";

class RunTrace : public testing::Test {
 protected:
  [[nodiscard]] std::string out() const { return folder_.path("run"); }
  [[nodiscard]] std::string file() const { return folder_.path("trace.json"); }
  Outcome train(Index ranks, const std::string& arguments) {
    return on_ranks(ranks, CONCLAVE_PROGRAM, fmt::format("{} --out {} {}", small, out(), arguments));
  }
  Outcome traced(Index ranks, const std::string& steps, const std::string& arguments = {}) {
    return train(ranks, fmt::format("--trace {} --trace-steps {} {}", file(), steps, arguments));
  }
  [[nodiscard]] json trace() const { return json::parse(content_of(file()), nullptr, false); }
  /// Of the run's steps, by number.
  [[nodiscard]] std::map<Index, json> metrics() const {
    std::map<Index, json> steps;
    std::istringstream lines(content_of(out() + "/metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      const json record = json::parse(line, nullptr, false);
      if (record["kind"] == "step") steps[record["step"]] = record;
    }
    return steps;
  }
  TemporaryFolder folder_;
};

TEST_F(RunTrace, RowsNestAndAddUpToTheMetricsAndNoBitsChange) {
  const TemporaryFolder plain;
  const Outcome untraced = test::conclave(small + "--out " + plain.path("run"));
  ASSERT_EQ(untraced.exit_code, 0) << untraced.output;
  const std::string digest = test::digest_of(plain.path("run"));
  ASSERT_EQ(digest.size(), 16U) << digest;
  for (const Index ranks : {1, 2, 3, 4, 6}) {
    std::filesystem::remove_all(out());
    const Outcome outcome = traced(ranks, "2..4");
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_EQ(count(outcome.output, "trace of steps 2 to 4: " + file()), 1) << outcome.output;
    EXPECT_EQ(test::digest_of(out()), digest) << ranks;
    const json all = trace();
    ASSERT_FALSE(all.is_discarded());
    EXPECT_EQ(all["otherData"]["steps"], (json{2, 4}));
    EXPECT_EQ(all["otherData"]["clocks"].size(), static_cast<std::size_t>(ranks));
    const TraceRows rows = rows_of(all);
    std::map<std::string, double> phases_s;
    for (const auto& [names, events] : rows) {
      expect_nested(events);
      if (names.second != "main thread") continue;
      for (const json& e : events) {
        if (e["cat"] == "compute" || e["cat"] == "wait") phases_s[e["name"]] += 1e-6 * e["dur"].get<double>();
      }
      EXPECT_GT(seconds_of(events, "step 2"), 0.0);
      EXPECT_GT(seconds_of(events, "step 4"), 0.0);
      EXPECT_EQ(seconds_of(events, "step 5"), 0.0);
      EXPECT_GT(seconds_of(events, "layer 1 backward"), 0.0);
      EXPECT_GT(seconds_of(events, "checkpoint"), 0.0);
      EXPECT_GT(seconds_of(events, "evaluation"), 0.0);
    }
    std::set<std::string> processes;
    for (const auto& [names, events] : rows) processes.insert(names.first);
    EXPECT_EQ(std::ssize(processes), ranks);
    const std::map<Index, json> steps = metrics();
    for (const auto& [phase, spread] : steps.at(2)["phases"].items()) {
      double told_s = 0.0;
      for (Index step = 2; step <= 4; ++step) {
        told_s += static_cast<double>(ranks) * steps.at(step)["phases"][phase]["mean_s"].get<double>();
      }
      const double rounding_s = 1e-9 * static_cast<double>(all["traceEvents"].size());
      EXPECT_NEAR(phases_s[phase], told_s, rounding_s) << phase << " on " << ranks;
    }
  }
}

TEST_F(RunTrace, SaysWhichExpertsAndRowsAndWhatIsOnItsWay) {
  const Outcome outcome = traced(2, "4", "--checkpoint-async");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  std::set<Index> experts;
  double rows = 0.0;
  Index on_their_way = 0;
  const json all = trace();
  for (const json& e : all["traceEvents"]) {
    if (e["ph"] != "X") continue;
    if (e["cat"] == "transfer" && e["args"]["of"] == "rows") {
      EXPECT_TRUE(e["name"] == "dispatch" || e["name"] == "combine") << e;
      ++on_their_way;
    }
    if (e["name"] != "experts") continue;
    EXPECT_TRUE(e["args"].contains("wave")) << e;
    EXPECT_TRUE(e["args"].contains("layer")) << e;
    for (const json& expert : e["args"]["experts"]) experts.insert(expert.get<Index>());
    rows += e["args"].value("rows", 0.0);
  }
  EXPECT_EQ(experts, (std::set<Index>{0, 1, 2, 3, 4}));
  EXPECT_GT(rows, 0.0);
  EXPECT_GT(on_their_way, 0);
  EXPECT_GT(count(content_of(file()), R"("name":"checkpoint","cat":"transfer")"), 0);
}

TEST_F(RunTrace, ThreadsHaveRowsAndTheBitsStay) {
  const TemporaryFolder plain;
  ASSERT_EQ(test::conclave(small + "--out " + plain.path("run")).exit_code, 0);
  const std::string threaded = std::string(small).replace(small.find("--threads 1"), 11, "--threads 2");
  for (const Index ranks : {1, 2}) {
    std::filesystem::remove_all(out());
    const Outcome outcome = on_ranks(ranks, CONCLAVE_PROGRAM,
                                     fmt::format("{} --out {} --trace {} --trace-steps 2..4", threaded, out(), file()));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_EQ(test::digest_of(out()), test::digest_of(plain.path("run"))) << ranks;
    const json all = trace();
    EXPECT_EQ(all["otherData"]["left_out_thread_spans"], 0);
    const TraceRows rows = rows_of(all);
    for (Index rank = 0; rank < ranks; ++rank) {
      std::map<std::string, Index> calls;
      for (const Index thread : {0, 1}) {
        const auto row = rows.find({fmt::format("rank {}", rank), fmt::format("thread {}", thread)});
        ASSERT_NE(row, rows.end()) << rank << " " << thread;
        expect_nested(row->second);
        for (const json& e : row->second) calls[e["name"]] += e["args"]["calls"].get<Index>();
      }
      EXPECT_GT(calls["attention"], 0) << rank;
      EXPECT_TRUE(rank > 0 || calls["experts"] > 0) << "the other rank has one expert a wave: nothing to share out";
      EXPECT_FALSE(rows.contains({fmt::format("rank {}", rank), "thread 2"}));
    }
  }
}

TEST_F(RunTrace, WhatCannotBeWrittenIsToldAndTheRunGoesOn) {
  std::filesystem::create_directory(file());  // there is a folder of that name
  const Outcome outcome = traced(2, "2..3");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(count(outcome.output, "the run goes on without its trace: "), 1) << outcome.output;
  EXPECT_EQ(metrics().size(), 6U);
}

TEST_F(RunTrace, WhatCannotBeTracedIsRefusedBeforeTheRun) {
  for (const auto& [arguments, part] :
       {std::pair{"--trace t.json --trace-steps 5..7", "trace_steps = 5..7 of a run of 6 steps"},
        {"--trace t.json", "trace = t.json without trace_steps"},
        {"--trace nowhere/t.json --trace-steps 2", "there is no folder 'nowhere'"}}) {
    const Outcome outcome = train(1, arguments);
    EXPECT_EQ(outcome.exit_code, 1) << outcome.output;
    EXPECT_EQ(count(outcome.output, part), 1) << outcome.output;
  }
}

// One command line serves the start and every restart.
TEST_F(RunTrace, OfARunThatIsCutHasTheStepsOfOneStart) {
  const Outcome before = traced(2, "5..6", "--resume auto --stop-after 3");
  EXPECT_EQ(before.exit_code, 0) << before.output;
  EXPECT_EQ(count(before.output, "no trace: the run ends after step 3, before steps 5 to 6"), 1) << before.output;
  EXPECT_FALSE(std::filesystem::exists(file()));

  const Outcome within = traced(2, "3..5", "--resume auto --stop-after 4");
  EXPECT_EQ(count(within.output, "the trace begins with step 4"), 1) << within.output;
  EXPECT_EQ(trace()["otherData"]["steps"], (json{4, 4})) << "and ends with the run";
  const std::string kept = content_of(file());

  const Outcome after = traced(2, "3..4", "--resume auto --stop-after 5");
  EXPECT_EQ(count(after.output, "no trace: trace_steps = 3..4, but the run goes on after step 4"), 1) << after.output;
  EXPECT_EQ(content_of(file()), kept);
}

TEST_F(RunTrace, TheTableAndTheRecordsTellWhereTheTimeWent) {
  const Outcome outcome = on_ranks(
      2, CONCLAVE_PROGRAM,
      fmt::format("train --steps 6 --experts 4 --top-k 1 --router rule --rules 'default -> 2' --expert-hidden 64 "
                  "--width 32 --heads 2 --context 16 --sequences 8 --layers 1 --eval-every 0 --eval-sequences 2 "
                  "--threads 1 --out {}",
                  out()));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(count(outcome.output, "Of ranks' time: compute "), 1) << outcome.output;
  for (const auto& [step, record] : metrics()) {
    const json& a = record["attribution"];
    EXPECT_TRUE(a["slowest_rank"] == 0 || a["slowest_rank"] == 1) << step;
    const json& wait = record["phases"]["wait"]["mean_s"];
    EXPECT_NEAR(a["exposed_s"].get<double>() + a["imbalance_s"].get<double>(), wait.get<double>(), 1e-9);
    EXPECT_EQ(a["layers"].size(), 1U);
  }
}

}  // namespace
}  // namespace conclave
