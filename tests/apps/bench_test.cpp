// SPDX-License-Identifier: BSD-3-Clause
// The measurements of `conclave bench`, at sizes that say nothing about speed: what they print, what their JSON holds,
// and what they refuse. No test looks at how long something took.
#include "tests/apps/program.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include <fstream>

namespace conclave {
namespace {

using nlohmann::json;
using test::conclave;
using test::count;
using test::on_ranks;
using test::Outcome;
using train::TemporaryFolder;

const std::string tiny_layer = " --tokens 24 --groups 2 --width 16 --hidden 24,8 --experts 4 --top-k 2 --repeats 3 ";

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
          {"memory", " --array-mib 1 --threads 2 --repeats 3 ", {}}};
}

// The object that `bench` prints on stdout, which must hold nothing else; stderr goes elsewhere.
json object_of(Index ranks, const std::string& arguments) {
  const Outcome outcome = test::run(fmt::format("sh -c '{} {} 100 {} bench {} --json 2>/dev/null'", CONCLAVE_MPIRUN,
                                                ranks, CONCLAVE_PROGRAM, arguments));
  EXPECT_EQ(outcome.exit_code, 0) << arguments << '\n' << outcome.output;
  return json::parse(outcome.output, nullptr, false);
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
    const Outcome outcome = on_ranks(2, CONCLAVE_PROGRAM, "bench " + c.name + c.options + "--calibration " + file);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_EQ(count(outcome.output, "median"), 1) << "one table: " << outcome.output;
    std::ifstream stream(file);
    const json object = json::parse(stream, nullptr, false);
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

TEST(BenchLayer, TakesOtherRoutersAndExperts) {
  for (const std::string more : {"--router hash", "--router-preset switch", "--expert-kind swiglu,linear",
                                 "--expert-sharing base+delta --expert-rank 2",
                                 "--capacity-factor 0.5 --capacity-scope step", "--gate cosine"}) {
    const json object = object_of(2, "layer --tokens 24 --width 16 --hidden 8 --repeats 1 " + more);
    ASSERT_TRUE(object.is_object()) << more;
    EXPECT_GT(object.at("ratio").get<double>(), 0.0) << more;
  }
}

void expect_refusal(const Outcome& outcome, const std::string& part) {
  EXPECT_NE(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, testing::HasSubstr(part));
  EXPECT_EQ(count(outcome.output, "hint: "), 1) << outcome.output;
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
  const Outcome file = on_ranks(2, CONCLAVE_PROGRAM, "bench gemm --calibration /nonexistent/file");
  expect_refusal(file, "cannot write '/nonexistent/file'");
}

}  // namespace
}  // namespace conclave
