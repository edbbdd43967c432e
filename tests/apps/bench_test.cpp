// SPDX-License-Identifier: BSD-3-Clause
// The measurements of `conclave bench`, at sizes that say nothing about speed: what they print, what their JSON holds,
// and what they refuse. No test looks at how long something took.
#include "tests/apps/refusal.hpp"
#include "tests/support/file_content.hpp"
#include "tests/support/sanitizer.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <map>

namespace conclave {
namespace {

using nlohmann::json;
using test::conclave;
using test::content_of;
using test::count;
using test::expect_refusal;
using test::on_ranks;
using test::Outcome;
using train::TemporaryFolder;

const std::string tiny_layer = " --tokens 24 --groups 2 --width 16 --hidden 24,8 --experts 4 --top-k 2 --repeats 3 ";

const std::string tiny_model = " --layers 2 --width 8 --heads 2 --context 6 --experts 3 --expert-hidden 8 --repeats 3 ";

/// A measurement with options that make it small, and the keys of its object that are times or rates.
struct Case {
  std::string name;
  std::string options;
  std::vector<std::string> positive;
};

std::vector<Case> cases() {
  return {{"layer", tiny_layer, {"forward_backward_s", "gemm_floor_s", "ratio", "tokens_per_s"}},
          {"gate", tiny_layer, {"gate_s", "gemm_floor_s", "ratio", "tokens_per_s"}},
          {"gemm", " --rows 5 --width 8 --hidden 12 --repeats 3 ", {"core_peak_flops_per_s"}},
          {"memory", " --array-mib 1 --threads 2 --repeats 3 ", {}},
          {"exchange", " --sizes 96,960 --row-bytes 48 --repeats 3 ", {}},
          {"reduce", " --elements 9000 --groups 3 --repeats 3 ", {"reduce_s", "ratio"}},
          {"step",
           tiny_model + " --sequences 4 --groups 2 ",
           {"step_s", "gemm_floor_s", "ratio", "tokens_per_s", "gemm_flops"}},
          {"checkpoint",
           tiny_model,
           {"save_s", "background_s", "pause_s", "raw_write_s", "raw_read_s", "copy_s", "ratio", "bytes"}},
          {"scaling", tiny_layer, {}}};
}

Outcome bench_on_ranks(Index ranks, const std::string& arguments) {
  return test::on_ranks(ranks, CONCLAVE_PROGRAM, "bench " + arguments);
}

// The object that `bench` prints on stdout, which must hold nothing else.
json object_of(Index ranks, const std::string& arguments) {
  const Outcome outcome = bench_on_ranks(ranks, arguments + " --json");
  EXPECT_EQ(outcome.exit_code, 0) << arguments << '\n' << outcome.output;
  return json::parse(outcome.out, nullptr, false);
}

void expect_lines(const json& object) {
  ASSERT_FALSE(object.at("results").empty());
  std::size_t num_ratios = 0;
  for (const json& line : object.at("results")) {
    SCOPED_TRACE(line.dump());
    EXPECT_GT(line.at("timings").get<Index>(), 2);
    EXPECT_GT(line.at("min_s").get<double>(), 0.0);
    EXPECT_LE(line.at("min_s").get<double>(), line.at("median_s").get<double>());
    EXPECT_LE(line.at("median_s").get<double>(), line.at("max_s").get<double>());
    if (!line.contains("floors")) continue;
    for (const auto& [name, floor] : line.at("floors").items()) {
      const double quotient = line.at("median_s").get<double>() / floor.at("median_s").get<double>();
      EXPECT_NEAR(floor.at("ratio").get<double>(), quotient, 1e-12 * quotient) << name;
      ++num_ratios;
    }
  }
  EXPECT_GT(num_ratios, 0U);
}

TEST(Bench, EveryMeasurementGivesOneObject) {
  for (const Case& c : cases()) {
    for (const Index ranks : {1, 2}) {
      SCOPED_TRACE(fmt::format("{} on {} ranks", c.name, ranks));
      const json object = object_of(ranks, c.name + c.options);
      ASSERT_TRUE(object.is_object()) << object.dump();
      EXPECT_EQ(object.at("measurement"), c.name);
      EXPECT_EQ(object.at("options").at("repeats"), "3");
      EXPECT_EQ(object.at("machine").at("ranks"), fmt::format("{}", ranks));
      for (const char* key : {"cpu", "cores", "hostname", "blas_library", "blas_kernel", "gemm", "mpi_library"}) {
        EXPECT_TRUE(object.at("machine").contains(key)) << key;
      }
      EXPECT_GE(object.at("load").at("before").get<double>(), 0.0);
      for (const std::string& key : c.positive) EXPECT_GT(object.at(key).get<double>(), 0.0) << key;
      expect_lines(object);
    }
  }
}

TEST(Bench, EveryMeasurementPrintsATableAndWritesTheObject) {
  const TemporaryFolder folder;
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    const std::string file = folder.path(c.name + ".json");
    const Outcome outcome = bench_on_ranks(2, c.name + c.options + "--calibration " + file);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_EQ(count(outcome.output, "median"), 1) << "one table: " << outcome.output;
    const json object = json::parse(content_of(file), nullptr, false);
    ASSERT_TRUE(object.is_object());
    for (const json& line : object.at("results")) {
      EXPECT_THAT(outcome.output, testing::HasSubstr(line.at("name").get<std::string>()));
    }
    expect_lines(object);
  }
}

TEST(BenchLayer, TellsRatioSpeedAndPhases) {
  for (const Index ranks : {1, 2}) {
    const json object = object_of(ranks, "layer" + tiny_layer);
    const double seconds = object.at("forward_backward_s").get<double>();
    EXPECT_DOUBLE_EQ(object.at("ratio").get<double>(), seconds / object.at("gemm_floor_s").get<double>());
    EXPECT_DOUBLE_EQ(object.at("tokens_per_s").get<double>(), 24.0 * static_cast<double>(ranks) / seconds);
    for (const char* phase : {"gate", "dispatch", "experts", "combine"}) {
      EXPECT_GT(object.at("phases").at(phase).get<double>(), 0.0) << phase;
    }
  }
}

// Rows are most of it, so that one strategy's formula does not fit another's.
TEST(BenchLayer, NeedsTheMemoryThatItsExchangesFormulaSays) {
  SKIP_UNDER_ADDRESS_SANITIZER();
  std::map<std::string, double> formulas;
  for (const char* exchange : {"flat", "pairwise", "bruck", "shared", "hierarchical"}) {
    const json layer = object_of(2, fmt::format("layer --tokens 4096 --width 512 --hidden 128 --experts 8 --top-k 4 "
                                                "--repeats 1 --waves 1 --exchange {}",
                                                exchange));
    const double formula = formulas[exchange] = layer["memory_formula_bytes"];
    EXPECT_NEAR(layer["memory_measured_bytes"].get<double>() / formula, 1.0, 0.1) << exchange;
  }
  EXPECT_GT(formulas["flat"], 1.2 * formulas["shared"]);
  EXPECT_GT(formulas["bruck"], 1.2 * formulas["shared"]);
}

TEST(BenchLayer, NeedsTheMemoryThatItsFormulaSaysOfASharedBase) {
  SKIP_UNDER_ADDRESS_SANITIZER();
  for (const Index ranks : {1, 2}) {
    const json layer = object_of(ranks,
                                 "layer --tokens 1024 --width 512 --hidden 4096 --experts 8 --top-k 2 --repeats 1 "
                                 "--expert-sharing base+delta --expert-rank 8");
    const double formula = layer["memory_formula_bytes"];
    EXPECT_NEAR(layer["memory_measured_bytes"].get<double>() / formula, 1.0, 0.1) << ranks << " ranks";
  }
}

// Memory is no time: it does not depend on what else runs.
TEST(BenchLayer, NeedsTheMemoryThatItsFormulaSays) {
  SKIP_UNDER_ADDRESS_SANITIZER();
  for (const Index ranks : {1, 2}) {
    const json layer =
        object_of(ranks, "layer --tokens 4096 --width 512 --hidden 2048 --experts 16 --top-k 2 --repeats 1");
    const double formula = layer["memory_formula_bytes"];
    EXPECT_GT(formula, 400e6);
    EXPECT_NEAR(layer["memory_measured_bytes"].get<double>() / formula, 1.0, 0.1) << ranks << " ranks";
  }
}

TEST(BenchScaling, MeasuresStrongAndWeakOnEachNumberOfRanks) {
  const TemporaryFolder folder;
  const json object = object_of(3, "scaling --ranks 1,3" + tiny_layer + "--csv " + folder.path("table.csv") +
                                       " --picture " + folder.path("picture.svg"));
  const json& lines = object.at("results");
  ASSERT_EQ(lines.size(), 4U);
  EXPECT_EQ(lines[1].at("name"), "strong, 3 ranks");
  EXPECT_EQ(lines[3].at("name"), "weak, 3 ranks");
  const auto median = [&](std::size_t i) { return lines[i].at("median_s").get<double>(); };
  const auto near = [](const json& value, double expected) {
    EXPECT_NEAR(value.get<double>(), expected, 1e-9 * expected);
  };
  near(lines[0].at("speed_up"), 1.0);
  near(lines[1].at("speed_up"), median(0) / median(1));
  near(lines[1].at("efficiency"), median(0) / median(1) / 3.0);
  near(lines[3].at("speed_up"), 3.0 * median(2) / median(3));
  near(lines[3].at("efficiency"), median(2) / median(3));
  const std::string table = content_of(folder.path("table.csv"));
  EXPECT_EQ(count(table, "\n"), 5);
  EXPECT_EQ(count(table, "\nstrong,3,24,"), 1) << table;
  EXPECT_EQ(count(table, "\nweak,3,72,"), 1) << table;
  const std::string picture = content_of(folder.path("picture.svg"));
  EXPECT_TRUE(picture.starts_with("<svg ")) << picture;
  EXPECT_EQ(count(picture, "<circle "), 4) << picture;
}

TEST(BenchScaling, GoesOnWithWhatIsMissing) {
  const TemporaryFolder folder;
  const std::string points = folder.path("points");
  const std::string study = "scaling" + tiny_layer + "--points " + points;
  const auto lines = [&] { return count(content_of(points), "\"point\":"); };
  EXPECT_EQ(object_of(3, study + " --ranks 3").at("results").size(), 2U);
  EXPECT_EQ(lines(), 2);
  // As a program leaves it that is killed while it measures, and while it writes.
  const std::string three = content_of(points);
  std::ofstream(points, std::ios::app) << R"({"begins":{"kind":"strong","ranks":1}})"
                                       << "\n{\"poi";
  const json part = object_of(3, study + " --ranks 1,3 --collect");
  EXPECT_EQ(part.at("results").size(), 2U);
  EXPECT_EQ(part.at("missing"), json({"weak, 1 ranks", "strong, 1 ranks"})) << part;  // what was tried comes last
  EXPECT_EQ(lines(), 2);
  const json all = object_of(3, study + " --ranks 1,3");
  EXPECT_EQ(all.at("results").size(), 4U);
  EXPECT_TRUE(all.at("missing").empty()) << all;
  EXPECT_EQ(lines(), 4);
  EXPECT_TRUE(content_of(points).starts_with(three)) << "what was measured has changed";
  const json again = object_of(3, study + " --ranks 1,3 --collect");
  EXPECT_EQ(again.at("results"), all.at("results"));
  expect_refusal(on_ranks(3, CONCLAVE_PROGRAM, "bench " + study + " --skew zipf"), "has points with skew = ");
  expect_refusal(on_ranks(3, CONCLAVE_PROGRAM, "bench " + study + " --ranks 2 --collect"), "has no point of these");
  expect_refusal(conclave("bench scaling --collect"), "collect = yes without points");
  folder.write("text", "nothing of the kind\n");
  expect_refusal(conclave("bench scaling --points " + folder.path("text")), "holds no points of a study");
}

TEST(BenchExchange, MeasuresEveryStrategyInEverySize) {
  const json object = object_of(2, "exchange --sizes 96,960 --row-bytes 48 --repeats 1");
  const json& rates = object.at("bytes_per_s");
  ASSERT_FALSE(rates.empty());
  EXPECT_EQ(object.at("results").size(), 2 * rates.size());
  for (const auto& [strategy, sizes] : rates.items()) {
    for (const char* size : {"96", "960"}) EXPECT_GT(sizes.at(size).get<double>(), 0.0) << strategy;
  }
  EXPECT_EQ(object_of(1, "exchange --exchange flat --sizes 96 --row-bytes 48 --repeats 1").at("results").size(), 1U);
}

// A dense block of width 8 with a hidden width of 16: 6 operations for each row and element of its matrices, and 12
// for each feature and pair of tokens that attention looks at.
TEST(BenchStep, CountsTheProductsOfAStep) {
  const json object = object_of(
      2,
      "step --moe-every 0 --layers 1 --width 8 --heads 2 --context 5 --dense-hidden 16 --sequences 4 --groups 2 "
      "--tied-head --repeats 1");
  const double vocabulary = 256.0;
  const double elements = 4 * 8 * 8 + 2 * 8 * 16 + vocabulary * 8;
  EXPECT_DOUBLE_EQ(object.at("gemm_flops").get<double>(), 6 * 20 * elements + 12 * 20 * 3 * 8);
  EXPECT_DOUBLE_EQ(object.at("tokens_per_s").get<double>() * object.at("step_s").get<double>(), 20.0);
}

TEST(BenchStep, TellsWhatRecordingATraceCosts) {
  for (const Index ranks : {1, 2}) {
    const json object = object_of(ranks, "step --traced --sequences 4 --groups 2" + tiny_model);
    ASSERT_TRUE(object.is_object());
    EXPECT_EQ(object.at("results").at(1).at("name"), "recorded for a trace");
    EXPECT_GT(object.at("traced").at("ratio").get<double>(), 0.0);
    EXPECT_GT(object.at("traced").at("step_s").get<double>(), 0.0);
  }
}

TEST(BenchStep, TakesTheConfigurationOfARun) {
  const TemporaryFolder folder;
  folder.write("run.ini",
               "layers = 1\nwidth = 8\nheads = 2\ncontext = 4\nexpert_hidden = 8\nsequences = 4\ngroups = 2\n"
               "eval_every = 7\nout = elsewhere\n");
  for (const std::string name : {"step", "checkpoint"}) {
    const json object = object_of(2, name + " --repeats 1 --config " + folder.path("run.ini"));
    ASSERT_TRUE(object.is_object()) << name;
    EXPECT_EQ(object.at("options").at("eval_every"), "7") << name;
    EXPECT_FALSE(std::filesystem::exists("elsewhere"));
    EXPECT_FALSE(std::filesystem::exists("conclave-bench-checkpoint"));
  }
}

// The fullest expert's load over the mean of 4 experts, for 2 x 400 choices.
TEST(BenchLayer, RoutesAsSkewSays) {
  const std::string layer = "layer --tokens 400 --groups 2 --width 8 --hidden 4 --experts 4 --repeats 1 --skew ";
  const auto imbalance = [&](const std::string& skew) {
    return object_of(2, layer + skew).at("imbalance").get<double>();
  };
  EXPECT_LT(imbalance("uniform --top-k 1"), 1.15);
  EXPECT_NEAR(imbalance("zipf --top-k 1"), 4.0 / (1.0 + 1.0 / 2 + 1.0 / 3 + 1.0 / 4), 0.15);
  EXPECT_EQ(imbalance("one --top-k 1"), 4.0);
  EXPECT_EQ(imbalance("one --top-k 2"), 2.0);
  EXPECT_EQ(object_of(1, layer + "one").at("gemm_floor_rows"), "as routed");
  EXPECT_EQ(object_of(1, layer + "uniform").at("gemm_floor_rows"), "balanced");
}

TEST(BenchLayer, HasTheSameTokensOnAnyNumberOfRanks) {
  const auto layer = [](Index ranks, Index tokens, Index groups) {
    return object_of(ranks, fmt::format("layer --tokens {} --groups {} --width 16 --hidden 4 --experts 16 --repeats 1 "
                                        "--capacity-factor 1",
                                        tokens, groups));
  };
  const json one = layer(1, 300, 6);
  const json three = layer(3, 100, 2);
  EXPECT_GT(one.at("drop_rate").get<double>(), 0.0);
  EXPECT_EQ(one.at("drop_rate"), three.at("drop_rate"));
  EXPECT_EQ(one.at("imbalance"), three.at("imbalance"));
}

TEST(BenchLayer, TakesOtherRoutersAndExperts) {
  for (const std::string more : {"--router hash", "--router-preset switch", "--expert-kind swiglu,linear",
                                 "--expert-sharing base+delta --expert-rank 2",
                                 "--capacity-factor 0.5 --capacity-scope step", "--gate cosine"}) {
    const json object = object_of(2, "layer --tokens 24 --width 16 --hidden 8 --repeats 1 " + more);
    ASSERT_TRUE(object.is_object()) << more;
    EXPECT_GT(object.at("ratio").get<double>(), 0.0) << more;
  }
}

TEST(Bench, HelpsWithEachMeasurement) {
  const Outcome family = conclave("bench --help");
  EXPECT_EQ(family.exit_code, 0);
  for (const Case& c : cases()) {
    EXPECT_EQ(count(family.output, fmt::format("\n  {} ", c.name)), 1) << family.output;
    const Outcome one = conclave(fmt::format("bench {} --help", c.name));
    EXPECT_EQ(one.exit_code, 0);
    EXPECT_EQ(count(one.output, fmt::format("Usage: conclave bench {} [OPTION...]", c.name)), 1) << one.output;
    EXPECT_EQ(count(one.output, "  --calibration "), 1) << one.output;
  }
  EXPECT_EQ(count(conclave("bench memory --help").output, "--top-k"), 0);
}

TEST(Bench, RefusesWhatItCannotMeasure) {
  expect_refusal(conclave("bench"), "bench what?");
  expect_refusal(conclave("bench --threads 1"), "bench what?");
  expect_refusal(conclave("bench layr"), "unknown bench 'layr'; did you mean layer?");
  expect_refusal(conclave("bench memory --top-k 2"), "unknown option '--top-k'");
  expect_refusal(conclave("bench layer --expert-hidden 8"), "unknown option '--expert-hidden'");
  expect_refusal(conclave("bench layer --tokens 10 --groups 3"), "10 tokens in 3 groups");
  expect_refusal(conclave("bench layer --hidden 8,0"), "hidden has 0");
  expect_refusal(conclave("bench layer --repeats 0"), "repeats = 0");
  expect_refusal(conclave("bench layer --eval-capacity-factor 1"), "'--eval-capacity-factor' has no effect here");
  expect_refusal(conclave("bench layer --router hash --skew zipf"), "skew = zipf with router = hash");
  expect_refusal(conclave("bench layer --experts 64 --width 32 --skew one"), "64 experts");
  expect_refusal(conclave("bench gemm --rows 0"), "rows = 0");
  expect_refusal(conclave("bench memory --array-mib -1"), "array_mib = -1");
  expect_refusal(conclave("bench exchange --sizes 100 --row-bytes 48"), "sizes has 100 with row_bytes = 48");
  expect_refusal(conclave("bench exchange --row-bytes 6"), "row_bytes = 6");
  expect_refusal(conclave("bench exchange --exchange falt"), "'falt'");
  expect_refusal(conclave("bench reduce --elements 0"), "elements = 0");
  expect_refusal(conclave("bench step --out x"), "'--out' has no effect here");
  expect_refusal(conclave("bench checkpoint --sequences 8"), "'--sequences' has no effect here");
  expect_refusal(conclave("bench checkpoint --out /"), "'/' is there already");
  expect_refusal(conclave("bench scaling --ranks 1,2"), "ranks has 2, the program runs on 1");
  expect_refusal(on_ranks(2, CONCLAVE_PROGRAM, "bench scaling --ranks 2,1"), "ranks = 2,1");
  expect_refusal(on_ranks(2, CONCLAVE_PROGRAM, "bench scaling --ranks 1 --exchange falt"), "'falt'");
  expect_refusal(conclave("bench scaling --picture /nonexistent/file"), "picture: cannot write '/nonexistent/file'");
  const Outcome file = on_ranks(2, CONCLAVE_PROGRAM, "bench gemm --calibration /nonexistent/file");
  expect_refusal(file, "cannot write '/nonexistent/file'");
}

}  // namespace
}  // namespace conclave
