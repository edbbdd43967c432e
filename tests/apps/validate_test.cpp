// SPDX-License-Identifier: BSD-3-Clause
// `conclave simulate validate` as a user calls it.
#include "apps/measured_training.hpp"
#include "runtime/train/hdf5.hpp"
#include "tests/apps/refusal.hpp"
#include "tests/apps/simulations.hpp"
#include "tests/support/file_content.hpp"

#include <gmock/gmock.h>

namespace conclave {
namespace {

using test::conclave;
using test::content_of;
using test::expect_refusal;
using test::on_ranks;
using test::Outcome;

// A rate for products and messages within a node.
std::string machine_of_two_ranks() {
  nlohmann::json machine = nlohmann::json::parse(test::machine_text(5e-11));
  const nlohmann::json line{{"latency_s", 1e-6}, {"Bps", 4e9}};
  machine["node"] = {{"eager", line}, {"rendezvous", line}, {"rendezvous_from_bytes", 4096}, {"post_s", 1e-7}};
  return machine.dump();
}

class Validate : public test::Simulations {
 protected:
  void train(Index ranks, const std::string& name, const std::string& options = test::small_run, Index steps = 12) {
    const Outcome outcome = on_ranks(
        ranks, CONCLAVE_PROGRAM,
        fmt::format("train --out {} --threads 1 --steps {} --eval-every 0 {}", folder_.path(name), steps, options));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  }
  Outcome validate(const std::string& arguments) { return conclave("simulate validate " + arguments); }
};

TEST_F(Validate, PricesEachRunAsItWas) {
  folder_.write("two.json", machine_of_two_ranks());
  train(1, "one");
  train(2, "two");
  train(2, "dropping", std::string(test::small_run) + " --capacity-factor 0.5 --exchange flat --waves 2");
  const std::string runs = fmt::format("{} {} {}", folder_.path("one"), folder_.path("two"), folder_.path("dropping"));
  const Outcome outcome = validate(fmt::format("--machine {} --json --csv {} --picture {} {}", folder_.path("two.json"),
                                               folder_.path("v.csv"), folder_.path("v.svg"), runs));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  const auto object = nlohmann::json::parse(outcome.output);
  ASSERT_EQ(object["runs"].size(), 3U);
  for (const auto& run : object["runs"]) {
    const apps::MeasuredTraining m = apps::measured_training(run["run"].get<std::string>());
    EXPECT_DOUBLE_EQ(run["measured_s"].get<double>(), m.run.step_s);
    EXPECT_EQ(run["steps"], 10);  // but for the first tenth
    EXPECT_EQ(run["ranks"], m.run.ranks);
    EXPECT_TRUE(run["held_out"].get<bool>());
    EXPECT_NEAR(run["error"].get<double>(), run["predicted_s"].get<double>() / m.run.step_s - 1.0, 1e-9);
    double predicted = 0.0;
    for (const auto& [name, phase] : run["phases"].items()) predicted += phase["predicted_s"].get<double>();
    EXPECT_NEAR(predicted, run["predicted_s"].get<double>(), 1e-9 * predicted);
    EXPECT_DOUBLE_EQ(run["phases"]["experts"]["measured_s"].get<double>(),
                     m.phases_s[static_cast<std::size_t>(Phase::experts)]);
  }
  // Half of the claims are dropped, so the experts have about half of the rows.
  const auto experts = [&](int run) { return object["runs"][run]["phases"]["experts"]["predicted_s"].get<double>(); };
  EXPECT_LT(experts(2), 0.8 * experts(1));
  EXPECT_GT(object["runs"][1]["phases"]["wait"]["predicted_s"].get<double>(), 0.0);
  EXPECT_EQ(object["summary"]["held_out"], 3);
  EXPECT_EQ(test::count(content_of(folder_.path("v.csv")), ",step,"), 3);
  EXPECT_EQ(test::count(content_of(folder_.path("v.svg")), "<circle"), 4) << "three runs and the legend's";
}

TEST_F(Validate, LeavesOutTheStepsThatTryExchanges) {
  folder_.write("two.json", machine_of_two_ranks());
  train(2, "auto", std::string(test::small_run) + " --exchange auto", 40);
  const auto log = train::Hdf5File::open(folder_.path("auto/run.h5"));
  const auto decisions = log.read<Index>("/exchanges/step");
  ASSERT_FALSE(decisions.empty());
  EXPECT_GE(decisions.back(), 18) << "three exchanges, six times each";
  EXPECT_EQ(apps::measured_training(folder_.path("auto")).run.steps, 40 - decisions.back());
  const Outcome outcome =
      validate(fmt::format("--machine {} --json {}", folder_.path("two.json"), folder_.path("auto")));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(nlohmann::json::parse(outcome.output)["runs"][0]["steps"], 40 - decisions.back());
}

TEST_F(Validate, KnowsWhatCalibrationsAreFittedTo) {
  train(1, "fitted",
        "--layers 2 --width 128 --heads 4 --context 64 --sequences 4 --groups 2 --experts 8 --expert-hidden 256 "
        "--capacity-factor 0 --corpus-sequences 1000");
  const Outcome outcome =
      validate(fmt::format("--machine {} {}", folder_.path("machine.json"), folder_.path("fitted")));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, testing::HasSubstr(" fitted "));
  EXPECT_THAT(outcome.output, testing::HasSubstr("no run is held out"));
  EXPECT_THAT(outcome.output, testing::HasSubstr("the machine was measured on 'a CPU'")) << "another machine's file";
}

TEST_F(Validate, SaysWhatIsMissing) {
  const std::string machine = "--machine " + folder_.path("machine.json");
  expect_refusal(validate(machine), "no run was named");
  expect_refusal(validate(folder_.path("one")), "no machine was given");
  expect_refusal(validate(machine + " " + folder_.path("nowhere")), folder_.path("nowhere"));
  train(2, "two");
  expect_refusal(validate(machine + " " + folder_.path("two")), "messages between ranks of a node were not measured");
  expect_refusal(validate("--machine /nonexistent.json " + folder_.path("two")), "/nonexistent.json");
}

}  // namespace
}  // namespace conclave
