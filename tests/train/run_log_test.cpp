// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/run_log.hpp"

#include "runtime/train/hdf5_table.hpp"
#include "tests/train/file_size_limit.hpp"
#include "tests/train/run_log_fixture.hpp"

#include <hdf5.h>

#include <limits>

namespace conclave::train {
namespace {

namespace fs = std::filesystem;

using Names = std::vector<std::string>;

TEST_F(RunLogTest, HoldsWhatWasAppended) {
  EXPECT_EQ(log_steps(0, 41), Names{});
  expect_run_file(h5(), 1, 41);
  EXPECT_EQ(content_of(jsonl()), expected_lines(41));
  EXPECT_EQ(listing(), (Names{"metrics.jsonl", "run.h5"}));
  const Hdf5File file = Hdf5File::open(h5());
  EXPECT_EQ(file.shape("/evaluations/step"), std::vector<Index>{10});
  EXPECT_EQ(file.attribute<std::string>("/config", "seed"), "1");
  EXPECT_EQ(file.attribute<std::string>("/record", "cpu"), "some");
  EXPECT_EQ(file.attribute<std::string>("/steps/seconds", "unit"), "s");
  EXPECT_EQ(file.attribute<std::string>("/steps/phases", "columns"), "min,mean,max");
  EXPECT_TRUE(file.attribute<std::string>("/steps/phases", "phases").starts_with("data,embedding,attention,"));
  EXPECT_EQ(file.members("/steps").size(), 30U);
  EXPECT_EQ(file.members("/evaluations").size(), 6U);
}

TEST_F(RunLogTest, HoldsTheConfusionOfClassesAndTheTestPartByItself) {
  const LogShape shape{.domains = false, .classes = 3};
  Evaluation test = some_evaluation(8, shape);
  test.split = Split::test;
  {
    RunLog log(folder(), 0, {}, {});
    for (Index step = 1; step <= 8; ++step) append(log, step, shape);
    log.append(test);
  }
  expect_run_file(h5(), 1, 8, shape);
  EXPECT_EQ(content_of(jsonl()), expected_lines(8, shape) + to_json(test) + '\n');
  EXPECT_NE(to_json(test).find("\"kind\":\"test\""), std::string::npos);
  EXPECT_NE(to_json(test).find(fmt::format("\"confusion\":[[{},{},{}],[", test.confusion.count(0, 0),
                                           test.confusion.count(0, 1), test.confusion.count(0, 2))),
            std::string::npos);
  {
    const Hdf5File file = Hdf5File::open(h5());
    EXPECT_EQ(file.read<Index>("/tests/step"), std::vector<Index>{8});
    EXPECT_EQ(file.read<double>("/tests/layer_agreement"), test.layer_agreement);
    EXPECT_EQ(file.read<Index>("/tests/confusion"), std::as_const(test).confusion.counts());
  }
  log_steps(4, 12, shape);
  expect_run_file(h5(), 1, 12, shape);
  EXPECT_TRUE(Hdf5File::open(h5()).read<Index>("/tests/step").empty()) << "it was of the steps that are done again";
}

TEST_F(RunLogTest, GrowsOverManyFlushesOfAnySize) {
  RunLog log(folder(), 0, {}, {});
  const Random random(3, RandomStream::initial);
  Index step = 0;
  for (Index round = 0; round < 60; ++round) {
    // Empty flushes, single rows, and more rows at once than a chunk holds.
    const Index rows = round == 30 ? 1500 : random.bits(round, 0) % 4;
    for (Index i = 0; i < rows; ++i) append(log, ++step);
    log.flush();
    if (round % 10 == 9) expect_run_file(h5(), 1, step);
  }
  EXPECT_GT(step, 1550);
  expect_run_file(h5(), 1, step);
  EXPECT_EQ(content_of(jsonl()), expected_lines(step));
}

TEST_F(RunLogTest, FlushesByItselfAndAtTheEnd) {
  {
    RunLog log(folder(), 0, {}, {}, 0.0);
    append(log, 1);
    expect_run_file(h5(), 1, 1);
    append(log, 2);
    expect_run_file(h5(), 1, 2);
    EXPECT_EQ(content_of(jsonl()), expected_lines(2));
  }
  {
    RunLog log(folder(), 2, {}, {}, 1e9);
    append(log, 3);
    expect_run_file(h5(), 1, 2);
    EXPECT_EQ(content_of(jsonl()), expected_lines(2));
  }
  expect_run_file(h5(), 1, 3);
  EXPECT_EQ(content_of(jsonl()), expected_lines(3));
}

TEST_F(RunLogTest, AReaderKeepsWhatItOpenedAndIsNotInTheWay) {
  RunLog log(folder(), 0, {}, {});
  for (Index step = 1; step <= 3; ++step) append(log, step);
  log.flush();
  const Hdf5File reader = Hdf5File::open(h5());
  for (Index step = 4; step <= 9; ++step) {
    append(log, step);
    log.flush();
    expect_run_file(h5(), 1, step);
    EXPECT_EQ(reader.read<Index>("/steps/step"), (std::vector<Index>{1, 2, 3}));
  }
}

TEST_F(RunLogTest, WithoutRecords) {
  {
    RunLog log(folder(), 0, {{"seed", "2"}}, {});
    log.flush();
  }
  const Hdf5File file = Hdf5File::open(h5());
  EXPECT_EQ(file.attribute<std::string>("/config", "seed"), "2");
  EXPECT_EQ(file.members("/"), (Names{"config", "record"}));
  EXPECT_EQ(content_of(jsonl()), "");
}

TEST_F(RunLogTest, WithoutLayersOrDomains) {
  const LogShape shape{.layers = 0, .experts = 0, .domains = false};
  log_steps(0, 6, shape);
  log_steps(5, 9, shape);
  expect_run_file(h5(), 1, 9, shape);
  EXPECT_EQ(Hdf5File::open(h5()).members("/steps").size(), 18U);
  EXPECT_EQ(content_of(jsonl()), expected_lines(9, shape));
}

TEST_F(RunLogTest, HoldsStartsSavesAndDecisionsOfStepsThatStay) {
  {
    RunLog log(folder(), 0, {}, {{"ranks", "4"}});
    for (Index step = 1; step <= 9; ++step) {
      append(log, step);
      if (step % 3 == 0) log.append(SavedCheckpoint{step, 0.5 * static_cast<double>(step)});
      if (step % 4 == 0) log.append(ExchangeDecision{step});
    }
  }
  const std::string lines = content_of(jsonl());
  EXPECT_EQ(lines, expected_lines(9)) << "they are in run.h5 alone";
  { const RunLog never_used(folder(), 3, {}, {{"ranks", "5"}}); }
  {
    RunLog log(folder(), 6, {}, {{"ranks", "2"}});
    log.append(some_step(7));
  }
  const Hdf5File file = Hdf5File::open(h5());
  EXPECT_EQ(file.read<Index>("/starts/step"), (std::vector<Index>{0, 6}));
  EXPECT_EQ(file.read<Index>("/starts/ranks"), (std::vector<Index>{4, 2}));
  EXPECT_EQ(file.read<Index>("/saves/step"), (std::vector<Index>{3, 6})) << "that of step 9 is of another future";
  EXPECT_EQ(file.read<double>("/saves/seconds"), (std::vector<double>{1.5, 3.0}));
  EXPECT_EQ(file.attribute<std::string>("/saves/seconds", "unit"), "s");
  EXPECT_EQ(file.read<Index>("/exchanges/step"), (std::vector<Index>{4}));
}

TEST_F(RunLogTest, HoldsTrafficOfAnyNumberOfRanks) {
  {
    RunLog log(folder(), 0, {}, {});
    for (Index step = 1; step <= 6; ++step) {
      append(log, step);
      if (step % 2 == 0) {
        log.append(TrafficRecord{.step = step, .steps = 2, .ranks = 2, .row_bytes = 96, .rows = {0, step, 0, 7}});
      }
    }
  }
  {
    RunLog log(folder(), 4, {}, {});
    append(log, 5);
    log.append(TrafficRecord{.step = 5, .steps = 1, .ranks = 70, .nodes = 1, .row_bytes = 96, .rows = {3}});
  }
  const Hdf5File file = Hdf5File::open(h5());
  const auto column = [&](const char* name) { return file.read<Index>(std::string("/traffic/") + name); };
  EXPECT_EQ(column("step"), (std::vector<Index>{2, 2, 2, 4, 4, 4, 5})) << "that of step 6 is of another future";
  EXPECT_EQ(column("steps"), (std::vector<Index>{2, 2, 2, 2, 2, 2, 1}));
  EXPECT_EQ(column("ranks"), (std::vector<Index>{2, 2, 2, 2, 2, 2, 70}));
  EXPECT_EQ(column("nodes"), (std::vector<Index>{0, 0, 0, 0, 0, 0, 1}));
  EXPECT_EQ(column("from"), (std::vector<Index>{0, 0, 1, 0, 0, 1, 0})) << "the first pair, and those with rows";
  EXPECT_EQ(column("to"), (std::vector<Index>{0, 1, 1, 0, 1, 1, 0}));
  EXPECT_EQ(column("rows"), (std::vector<Index>{0, 2, 7, 0, 4, 7, 3}));
  EXPECT_EQ(file.attribute<std::string>("/traffic/row_bytes", "unit"), "B");
}

TEST_F(RunLogTest, NumbersThatAreNotFinite) {
  StepRecord step = some_step(1);
  step.loss = std::numeric_limits<double>::quiet_NaN();
  step.gradient_norm = std::numeric_limits<double>::infinity();
  step.skipped = "step 1: why";
  {
    RunLog log(folder(), 0, {}, {});
    log.append(step);
  }
  expect_steps(Hdf5File::open(h5()), {step});
  EXPECT_TRUE(contains(content_of(jsonl()), "\"loss\":null")) << content_of(jsonl());
  EXPECT_TRUE(contains(content_of(jsonl()), "\"gradient_norm\":null"));
  EXPECT_TRUE(contains(content_of(jsonl()), "\"skipped\":\"step 1: why\""));
  EXPECT_EQ(log_steps(1, 2), Names{});
  EXPECT_EQ(Hdf5File::open(h5()).shape("/steps/loss"), std::vector<Index>{2});
}

TEST_F(RunLogTest, AResumedRunCutsWhatCameAfterItsCheckpoint) {
  for (const Index first : {24, 1, 23, 7}) {
    log_steps(0, 24);
    RunLog log(folder(), first, {{"steps", "40"}}, {{"cpu", "another"}});
    EXPECT_EQ(log.notices(), Names{});
    for (Index step = first + 1; step <= first + 5; ++step) append(log, step);
    log.flush();
    expect_run_file(h5(), 1, first + 5);
    EXPECT_EQ(content_of(jsonl()), expected_lines(first + 5));
    const Hdf5File file = Hdf5File::open(h5());
    EXPECT_EQ(file.attributes("/config"), Names{"steps"});
    EXPECT_EQ(file.attribute<std::string>("/record", "cpu"), "another");
  }
}

TEST_F(RunLogTest, ACutWithoutNewRecords) {
  log_steps(0, 24);
  log_steps(10, 10);
  expect_run_file(h5(), 1, 10);
  EXPECT_EQ(content_of(jsonl()), expected_lines(10));
}

TEST_F(RunLogTest, AMissingLogIsSaidAndBegun) {
  const Names notices = log_steps(10, 12);
  ASSERT_EQ(notices.size(), 1U);
  EXPECT_TRUE(contains(notices[0], "no records of 10 of the 10 steps")) << notices[0];
  expect_run_file(h5(), 11, 12);
  const Names later = log_steps(14, 15);
  ASSERT_EQ(later.size(), 1U);
  EXPECT_TRUE(contains(later[0], "no records of 12 of the 14 steps")) << later[0];
}

TEST_F(RunLogTest, NothingChangesBeforeTheFirstRecord) {
  log_steps(0, 10);
  const std::string before = content_of(h5());
  { const RunLog log(folder(), 0, {}, {}); }
  { const RunLog log(folder(), 5, {}, {}); }
  EXPECT_EQ(content_of(h5()), before);
  EXPECT_EQ(content_of(jsonl()), expected_lines(10));
  // Another run from the start.
  log_steps(0, 2);
  expect_run_file(h5(), 1, 2);
  EXPECT_EQ(content_of(jsonl()), expected_lines(2));
}

TEST_F(RunLogTest, APartialLineIsRemoved) {
  log_steps(0, 10);
  const std::string next = to_json(some_step(11)) + '\n';
  for (const std::string& rest : {next.substr(0, 1), next.substr(0, next.size() - 1), std::string(5000, '\0')}) {
    std::ofstream(jsonl(), std::ios::app | std::ios::binary) << rest;
    EXPECT_EQ(log_steps(10, 10), Names{});
    EXPECT_EQ(content_of(jsonl()), expected_lines(10));
  }
  std::ofstream(jsonl(), std::ios::app) << "no record\n" << next.substr(0, 30) << "\n";
  const Names notices = log_steps(10, 11);
  ASSERT_EQ(notices.size(), 1U);
  EXPECT_TRUE(contains(notices[0], "2 lines")) << notices[0];
  EXPECT_EQ(content_of(jsonl()), expected_lines(11));
}

TEST_F(RunLogTest, OtherLayersAreRefusedAndTheLogIsLeftAlone) {
  log_steps(0, 8, {.layers = 4, .experts = 8});
  const std::string before = content_of(h5());
  const std::string lines = content_of(jsonl());
  for (const LogShape& shape : {LogShape{.layers = 2, .experts = 8}, {.layers = 4, .experts = 16}, {.layers = 0}}) {
    for (const Index first : {0, 8}) {
      const auto [message, hint] = input_error([&] { log_steps(first, first + 1, shape); });
      EXPECT_TRUE(contains(message, h5().string())) << message;
      EXPECT_TRUE(contains(message, "4 MoE layers of 8 experts")) << message;
      EXPECT_TRUE(contains(message, shape.layers == 0
                                        ? "has no MoE layers"
                                        : fmt::format("has {} MoE layers of {}", shape.layers, shape.experts)))
          << message;
      EXPECT_TRUE(contains(hint, "--out")) << hint;
    }
  }
  EXPECT_TRUE(contains(input_error([&] { log_steps(8, 12, {.layers = 4, .experts = 8, .domains = false}); }).first,
                       "/evaluations/domain_information"));
  log_steps(8, 8);
  EXPECT_EQ(content_of(jsonl()), lines);
  ASSERT_NE(before, "");
  expect_run_file(h5(), 1, 8, {.layers = 4, .experts = 8});
}

TEST_F(RunLogTest, AnOlderVersionsLogIsRefusedAndLeftAlone) {
  log_steps(0, 8);
  {
    TableFile file(h5());
    file.remove("/steps/communication");
    file.close();
  }
  const std::string before = content_of(h5());
  const auto [message, hint] = input_error([&] { log_steps(8, 9); });
  EXPECT_TRUE(contains(message, h5().string())) << message;
  EXPECT_TRUE(contains(message, "another run or version")) << message;
  EXPECT_TRUE(contains(message, "/steps/communication")) << message;
  EXPECT_TRUE(contains(hint, "--out")) << hint;
  EXPECT_EQ(content_of(h5()), before);
}

// What is optional came later: a log that was begun without it is gone on with as it is.
TEST_F(RunLogTest, ALogWithoutAttributionIsGoneOnWith) {
  const Names later{"/steps/attribution", "/steps/layer_attribution", "/steps/slowest_rank",
                    "/steps/waited_s",    "/steps/slowest_stretch",   "/steps/slowest_expert"};
  log_steps(0, 8);
  {
    TableFile file(h5());
    for (const std::string& table : later) file.remove(table);
    file.close();
  }
  EXPECT_EQ(log_steps(6, 12), Names{});
  const Hdf5File file = Hdf5File::open(h5());
  EXPECT_EQ(file.shape("/steps/step"), std::vector<Index>{12});
  EXPECT_EQ(file.members("/steps").size(), 24U);
  for (const std::string& table : later) EXPECT_FALSE(file.exists(table)) << table;
  EXPECT_EQ(content_of(jsonl()), expected_lines(12)) << "there every line is by itself";
}

TEST_F(RunLogTest, ALedgerWithOtherColumnsIsRefusedAndLeftAlone) {
  log_steps(0, 8);
  {
    TableFile file(h5());
    file.remove("/drops/token");
    file.close();
  }
  const std::string before = content_of(h5());
  ASSERT_FALSE(some_step(10).drops.empty());
  EXPECT_TRUE(contains(input_error([&] { log_steps(9, 10); }).first, "this run /drops/token with rows of []"));
  EXPECT_EQ(content_of(h5()), before);
}

// What no run writes: rows that would be added to one object twice, numbers that would be rounded.
TEST_F(RunLogTest, TablesOfAnotherKindAreSetAside) {
  const auto set_aside = [&](const std::function<void()>& change) {
    fs::remove_all(folder());
    log_steps(0, 8);
    change();
    const Names notices = log_steps(8, 9);
    expect_run_file(h5(), 9, 9);
    return notices.empty() ? std::string() : notices[0];
  };
  const auto one_twice = [&] {
    const Hdf5Handle file(H5Fopen(h5().c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
    H5Ldelete(file.id(), "/steps/loss", H5P_DEFAULT);
    EXPECT_GE(H5Lcreate_hard(file.id(), "/steps/seconds", file.id(), "/steps/loss", H5P_DEFAULT, H5P_DEFAULT), 0);
  };
  EXPECT_TRUE(contains(set_aside(one_twice), "has another name too"));
  const auto narrow = [&] {
    TableFile(h5()).remove("/steps/loss");
    Hdf5File::open_writable(h5()).write<float>("/steps/loss", {8}, std::vector<float>(8));
  };
  EXPECT_TRUE(contains(set_aside(narrow), "/steps/loss holds float32"));
}

TEST_F(RunLogTest, ALastLineOfAnotherKindIsRead) {
  log_steps(0, 3);
  for (const char* line : {R"({"kind": 3, "step": 3})", R"({"kind": [], "step": 3})", R"({"step": 3})"}) {
    std::ofstream(jsonl(), std::ios::app) << line << '\n';
    EXPECT_FALSE(RunLog(folder(), 3, {}, {}).owes_evaluation()) << line;
  }
}

TEST_F(RunLogTest, ADamagedFileIsSetAside) {
  log_steps(0, 30);
  fs::resize_file(h5(), fs::file_size(h5()) / 2);
  const std::string damaged = content_of(h5());
  const Names notices = log_steps(30, 33);
  ASSERT_EQ(notices.size(), 2U);
  EXPECT_TRUE(contains(notices[0], "damaged")) << notices[0];
  EXPECT_TRUE(contains(notices[1], "no records of 30 of the 30 steps")) << notices[1];
  EXPECT_EQ(content_of(h5().string() + ".damaged"), damaged);
  expect_run_file(h5(), 31, 33);
  EXPECT_EQ(content_of(jsonl()), expected_lines(33));
  // Something else of that name, and an earlier damaged file.
  std::ofstream(h5()) << "not HDF5";
  EXPECT_EQ(log_steps(33, 35).size(), 2U);
  EXPECT_EQ(content_of(h5().string() + ".damaged"), damaged);
  EXPECT_EQ(content_of(h5().string() + ".damaged.2"), "not HDF5");
  expect_run_file(h5(), 34, 35);
}

TEST_F(RunLogTest, FlippedBitsAreFoundOrHarmless) {
  log_steps(0, 30);
  const std::string whole = content_of(h5());
  int found = 0;
  EXPECT_EQ(RunLog(folder(), 30, {}, {}).notices(), Names{}) << "nothing is flipped yet";
  for (std::size_t at = 5; at < whole.size(); at += whole.size() / 150) {
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ 0x10);
    std::ofstream(h5(), std::ios::binary) << flipped;
    const RunLog log(folder(), 30, {}, {});
    if (log.notices().empty()) {
      expect_run_file(h5(), 1, 30);
    } else {
      ++found;
      EXPECT_FALSE(fs::exists(h5()));
    }
  }
  EXPECT_GT(found, 20);
}

TEST_F(RunLogTest, AFileThatCannotGrowIsAnErrorAndNothingIsLost) {
  RunLog log(folder(), 0, {}, {});
  for (Index step = 1; step <= 9; ++step) append(log, step);
  log.flush();
  for (Index step = 10; step <= 20; ++step) append(log, step);
  {
    const FileSizeLimit limit(fs::file_size(h5()) + 1000);
    const auto [message, hint] = input_error([&] { log.flush(); });
    EXPECT_TRUE(contains(message, h5().string())) << message;
    EXPECT_TRUE(contains(message, "File too large")) << message;
    EXPECT_TRUE(contains(hint, "space")) << hint;
  }
  {
    const FileSizeLimit limit(fs::file_size(jsonl()) + 100);
    append(log, 21);
    EXPECT_TRUE(contains(input_error([&] { log.flush(); }).first, jsonl().string()));
    EXPECT_EQ(content_of(jsonl()), expected_lines(20));
  }
  expect_run_file(h5(), 1, 9);
  log.flush();
  expect_run_file(h5(), 1, 21);
  EXPECT_EQ(content_of(jsonl()), expected_lines(21));
}

TEST_F(RunLogTest, AFolderThatCannotBeMade) {
  std::ofstream(folder()) << "a file";
  const auto [message, hint] = input_error([&] { log_steps(0, 1); });
  EXPECT_TRUE(contains(message, folder().string())) << message;
  EXPECT_TRUE(contains(hint, "--out")) << hint;
}

}  // namespace
}  // namespace conclave::train
