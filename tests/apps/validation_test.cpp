// SPDX-License-Identifier: BSD-3-Clause
// What is read from a run's log, and what is made of errors, where the truth is known: no test here measures anything.
#include "apps/validation.hpp"
#include "runtime/train/run_log.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gmock/gmock.h>

namespace conclave::apps {
namespace {

using train::StepRecord;

// Step i takes i seconds, and each phase as many milliseconds as its number, times i.
StepRecord step_of(Index i, const std::vector<model::LayerStatistics>& layers) {
  StepRecord record;
  record.step = i;
  record.tokens = 64;
  record.seconds = static_cast<double>(i);
  for (std::size_t p = 0; p < num_phases; ++p) {
    record.phases[p] = {0.0, 1e-3 * static_cast<double>(p) * static_cast<double>(i), 9.0};
  }
  record.layers = layers;
  return record;
}

model::LayerStatistics layer_of(std::vector<Index> load, Index over_capacity, Index refused, Index rerouted = 0) {
  model::LayerStatistics layer;
  layer.tokens = 64;
  layer.load = std::move(load);
  layer.over_capacity = over_capacity;
  layer.refused_second = refused;
  layer.rerouted = rerouted;
  return layer;
}

void write_log(const train::TemporaryFolder& folder, const std::vector<StepRecord>& records, const char* nodes = "1") {
  std::filesystem::remove(folder.path("run.h5"));
  std::filesystem::remove(folder.path("metrics.jsonl"));
  train::RunLog log(folder.path(), 0, {{"layers", "2"}},
                    {{"ranks", "2"}, {"threads_per_rank", "1"}, {"nodes", nodes}, {"cpu", "a CPU"}});
  for (const StepRecord& record : records) log.append(record);
  log.flush();
}

TEST(MeasuredTraining, LeavesOutTheFirstStepsOfEachProcess) {
  const train::TemporaryFolder folder;
  std::vector<StepRecord> records;
  for (Index i = 1; i <= 10; ++i) records.push_back(step_of(i, {}));
  write_log(folder, records);
  EXPECT_EQ(measured_training(folder.path()).run.steps, 8) << "3 to 10";
  train::RunLog again(folder.path(), 6, {{"layers", "2"}}, {{"ranks", "2"}, {"threads_per_rank", "1"}, {"nodes", "1"}});
  for (Index i = 7; i <= 10; ++i) again.append(step_of(i, {}));
  again.flush();
  const MeasuredTraining m = measured_training(folder.path());
  EXPECT_EQ(m.run.steps, 6) << "3 to 6, 9 and 10";
  EXPECT_EQ(m.run.step_s, 5.5);
}

// What is written, and how many of its steps count.
Index steps_that_count(const train::TemporaryFolder& folder) { return measured_training(folder.path()).run.steps; }

TEST(MeasuredTraining, LeavesOutTheStepsThatTriedExchanges) {
  const train::RunLog::Texts record{{"ranks", "2"}, {"threads_per_rank", "1"}, {"nodes", "1"}};
  const auto write = [&](const train::TemporaryFolder& folder, Index first, Index last, const char* exchange,
                         const std::vector<Index>& decisions) {
    train::RunLog log(folder.path(), first, {{"layers", "2"}, {"exchange", exchange}}, record);
    for (Index i = first + 1; i <= last; ++i) {
      log.append(step_of(i, {}));
      for (Index n = std::ranges::count(decisions, i); n > 0; --n) log.append(train::ExchangeDecision{i});
    }
    log.flush();
  };
  const train::TemporaryFolder folder;
  write(folder, 0, 20, "auto", {5, 7, 7});
  EXPECT_EQ(steps_that_count(folder), 13) << "8 to 20";
  write(folder, 12, 20, "auto", {16});
  EXPECT_EQ(steps_that_count(folder), 9) << "8 to 12, 17 to 20: each process tries anew";
  write(folder, 18, 20, "flat", {});
  EXPECT_EQ(steps_that_count(folder), 7) << "8 to 12, 17 and 18: what does not try warms up all the same";
  write(folder, 18, 24, "auto", {});
  EXPECT_EQ(steps_that_count(folder), 7) << "8 to 12, 17 and 18: the last one did not come to decide";
  const train::TemporaryFolder undecided;
  write(undecided, 0, 20, "auto", {});
  EXPECT_EQ(steps_that_count(undecided), 18) << "3 to 20: nothing tells what it tried";
}

TEST(MeasuredTraining, IsTheMediansOfTheStepsThatCount) {
  const train::TemporaryFolder folder;
  std::vector<StepRecord> records;
  for (Index i = 1; i <= 20; ++i) records.push_back(step_of(i, {layer_of({7, 1, 5, 3}, 0, 0)}));
  records[19].skipped = "its loss was no number";
  write_log(folder, records);
  const MeasuredTraining m = measured_training(folder.path());
  EXPECT_EQ(m.run.steps, 17);  // 3 to 19
  EXPECT_EQ(m.run.step_s, 11.0);
  EXPECT_EQ(m.run.ranks, 2);
  EXPECT_EQ(m.nodes, 1);
  EXPECT_EQ(m.cpu, "a CPU");
  for (std::size_t p = 0; p < num_phases; ++p) {
    EXPECT_NEAR(m.phases_s[p], 1e-3 * static_cast<double>(p) * 11.0, 1e-12) << p;
  }
  EXPECT_NEAR(m.deviation_s, 1.25 * 1.4826 * 4.0 / std::sqrt(17.0), 1e-12) << "half of the steps lie 4 s off";
  const gating::RoutingTrace trace = m.trace(4, 16);
  EXPECT_EQ(trace.sizes, (gating::RoutingSizes{1, 4, 4, 16, 1}));
  ASSERT_EQ(trace.steps.size(), 17U);
  EXPECT_EQ(trace.steps[0], (gating::RoutingStep{3, {7, 1, 5, 3}, {7, 1, 5, 3}}));
}

TEST(MeasuredTraining, TakesDropsFromTheFullest) {
  const train::TemporaryFolder folder;
  const auto kept = [&](std::vector<Index> load, Index over_capacity, Index refused) {
    write_log(folder, {step_of(1, {layer_of(std::move(load), over_capacity, refused)})});
    return measured_training(folder.path()).rows.at(0).kept;
  };
  EXPECT_EQ(kept({10, 5, 3, 2}, 0, 0), (std::vector<Index>{10, 5, 3, 2}));
  EXPECT_EQ(kept({10, 5, 3, 2}, 3, 0), (std::vector<Index>{7, 5, 3, 2}));
  EXPECT_EQ(kept({10, 5, 3, 2}, 3, 2), (std::vector<Index>{5, 5, 3, 2}));
  EXPECT_EQ(kept({3, 10, 2, 5}, 8, 0), (std::vector<Index>{3, 4, 2, 3}));
  EXPECT_EQ(kept({6, 6, 6, 6}, 4, 0), (std::vector<Index>{5, 5, 5, 5}));
  EXPECT_EQ(kept({1, 2, 3, 4}, 10, 0), (std::vector<Index>{0, 0, 0, 0}));
}

TEST(MeasuredTraining, GivesWhatWasReroutedToTheEmptiest) {
  const train::TemporaryFolder folder;
  const auto kept = [&](std::vector<Index> load, Index over_capacity, Index rerouted) {
    write_log(folder, {step_of(1, {layer_of(std::move(load), over_capacity, 0, rerouted)})});
    return measured_training(folder.path()).rows.at(0).kept;
  };
  EXPECT_EQ(kept({10, 5, 3, 2}, 0, 5), (std::vector<Index>{5, 5, 5, 5}));
  EXPECT_EQ(kept({10, 5, 3, 2}, 0, 3), (std::vector<Index>{7, 5, 4, 4}));
  EXPECT_EQ(kept({10, 5, 3, 2}, 2, 1), (std::vector<Index>{7, 5, 3, 3}));
  EXPECT_EQ(kept({0, 12, 0}, 0, 8), (std::vector<Index>{4, 4, 4}));
}

TEST(MeasuredTraining, TakesNoMoreStepsOfRowsThanItNeeds) {
  const train::TemporaryFolder folder;
  std::vector<StepRecord> records;
  for (Index i = 1; i <= 300; ++i) records.push_back(step_of(i, {layer_of({i, 1}, 0, 0), layer_of({2, i}, 0, 0)}));
  write_log(folder, records);
  const MeasuredTraining m = measured_training(folder.path());
  ASSERT_EQ(m.rows.size(), most_measured_rows);
  EXPECT_EQ(m.rows.front().step, 31);
  EXPECT_EQ(m.rows.front().claimed, (std::vector<Index>{31, 1, 2, 31}));
  EXPECT_GT(m.rows.back().step, 290);
}

TEST(MeasuredTraining, RefusesWhatNoRunLogs) {
  const train::TemporaryFolder folder;
  const auto message = [&] {
    try {
      static_cast<void>(measured_training(folder.path()));
    } catch (const InputError& error) {
      EXPECT_FALSE(error.hint().empty());
      return std::string(error.what());
    }
    return std::string("nothing was refused");
  };
  EXPECT_NE(message(), "nothing was refused") << "no log";
  StepRecord skipped = step_of(1, {});
  skipped.skipped = "its loss was no number";
  write_log(folder, {skipped});
  EXPECT_THAT(message(), testing::HasSubstr("no step that was not skipped"));
  write_log(folder, {step_of(1, {})}, "3");
  EXPECT_THAT(message(), testing::HasSubstr("nodes = '3'"));
  write_log(folder, {step_of(1, {layer_of({1, 2}, 4, 0)})});
  EXPECT_THAT(message(), testing::HasSubstr("4 claims dropped or rerouted of fewer"));
  StepRecord without_time = step_of(1, {});
  without_time.phases[3].mean_s = std::nan("");
  write_log(folder, {without_time});
  EXPECT_THAT(message(), testing::HasSubstr("a time of phase gate that is none"));
}

ValidatedRun run_of(double measured_s, double predicted_s, Index tokens = 100) {
  ValidatedRun run;
  run.measured.run.step_s = measured_s;
  run.measured.deviation_s = 0.01 * measured_s;
  run.price.step_s = predicted_s;
  run.price.low_s = 0.9 * predicted_s;
  run.price.high_s = 1.1 * predicted_s;
  run.tokens = tokens;
  run.parameters = 1000.0;
  return run;
}

TEST(Validation, SumsUpTheHeldOutRuns) {
  std::vector<ValidatedRun> runs{run_of(1.0, 1.02), run_of(2.0, 1.9), run_of(4.0, 4.8), run_of(1.0, 9.0)};
  runs[3].is_held_out = false;
  const ValidationSummary s = summary_of(runs);
  EXPECT_EQ(s.runs, 3);
  EXPECT_NEAR(s.median, 0.05, 1e-12);
  EXPECT_NEAR(s.most, 0.05 + 0.8 * 0.15, 1e-12);
  EXPECT_NEAR(s.within, 2.0 / 3.0, 1e-12);
  EXPECT_EQ(s.pairs, 3);
  EXPECT_EQ(s.ranked, 3);
  EXPECT_FALSE(s.meets({}));
  EXPECT_TRUE(s.meets({.median = 0.06, .most = 0.2, .ranked = 1.0}));
  EXPECT_FALSE(summary_of(std::vector<ValidatedRun>{}).meets({1.0, 1.0, 0.0})) << "nothing was held out";
}

TEST(Validation, ComparesWhatIfsThatMeasurementsTellApart) {
  const auto pairs = [](std::vector<ValidatedRun> runs) {
    const ValidationSummary s = summary_of(runs);
    return std::pair(s.pairs, s.ranked);
  };
  EXPECT_EQ(pairs({run_of(1.0, 1.0), run_of(1.1, 1.05)}), std::pair(Index{1}, Index{1}));
  EXPECT_EQ(pairs({run_of(1.0, 1.2), run_of(1.1, 1.05)}), std::pair(Index{1}, Index{0}));
  EXPECT_EQ(pairs({run_of(1.0, 1.0), run_of(1.01, 1.0)}), std::pair(Index{0}, Index{0})) << "within the noise";
  EXPECT_EQ(pairs({run_of(1.0, 1.0), run_of(2.0, 1.0, 200)}), std::pair(Index{0}, Index{0})) << "other work";
}

TEST(Validation, CalibrationsThatDifferWidenTheInterval) {
  sim::TrainingPrice a;
  a.step_s = 1.0;
  a.low_s = 0.9;
  a.high_s = 1.1;
  a.phases_s[2] = 0.4;
  sim::TrainingPrice b = a;
  EXPECT_NEAR(mean_of(std::vector{a, b}).high_s, 1.1, 1e-12);
  b.step_s = 1.2;
  b.low_s = 1.1;
  b.high_s = 1.3;
  b.phases_s[2] = 0.6;
  const sim::TrainingPrice mean = mean_of(std::vector{a, b});
  EXPECT_NEAR(mean.step_s, 1.1, 1e-12);
  EXPECT_NEAR(mean.phases_s[2], 0.5, 1e-12);
  EXPECT_NEAR(mean.high_s - mean.step_s, std::hypot(0.1, 1.645 * 0.1), 1e-12);
  EXPECT_NEAR(mean.step_s - mean.low_s, mean.high_s - mean.step_s, 1e-12);
}

TEST(Validation, TellsWhichTargetsAreMet) {
  Validation v;
  v.machines.emplace_back().host = "node17";
  v.runs = {run_of(1.0, 1.02), run_of(2.0, 1.9)};
  v.runs[0].measured.folder = "first";
  v.runs[0].price.phases_s[static_cast<std::size_t>(Phase::experts)] = 0.03;
  v.summary = summary_of(v.runs);
  const std::string text = table_text(v);
  EXPECT_THAT(text, testing::ContainsRegex("first +1 +0 +1 s +1.02 s +\\+2.0 % +within +held out +experts \\+3.0 %"));
  EXPECT_THAT(text, testing::ContainsRegex("off by, median +3.5 % +target 5.0 % +met"));
  EXPECT_THAT(text, testing::ContainsRegex("of 1 pairs of what-ifs, ranked rightly +100.0 %"));
  v.runs[1].is_held_out = false;
  EXPECT_THAT(picture_text(v), testing::HasSubstr("fitted"));
  EXPECT_THAT(csv_text(table_of(v)), testing::HasSubstr("first,1,0,1,experts,0,0.03,,\n"));
}

}  // namespace
}  // namespace conclave::apps
