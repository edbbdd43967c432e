// SPDX-License-Identifier: BSD-3-Clause
// Runs from the command line with a sample so large that no sum of its numbers is finite.
#include "tests/apps/program.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/feature_file.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>

namespace conclave {
namespace {

namespace fs = std::filesystem;

using test::conclave;
using test::content_of;
using test::count;
using test::digest_of;
using test::on_ranks;
using test::Outcome;
using train::TemporaryFolder;

constexpr Index num_steps = 8;

class NotFiniteRun : public testing::Test {
 protected:
  NotFiniteRun() {
    train::FeatureFile data = train::three_classes(96, 1);
    train::write<float>(data, folder_.path("sound.h5"));
    std::fill_n(data.x.begin() + 4 * 22, 4, 3e38);
    train::write<float>(data, folder_.path("data.h5"));
  }
  /// A run into the folder `name`.
  [[nodiscard]] std::string command(const std::string& name, const std::string& options,
                                    const std::string& data = "data.h5", double rate = 0.01) const {
    return fmt::format(
        "train --task classify --standardise=no --layers 2 --width 16 --experts 4 --expert-hidden 16 --sequences 8 "
        "--groups 4 --steps {} --learning-rate {} --warmup-steps 0 --eval-every 0 --validation-fraction 0 "
        "--test-fraction 0 --threads 1 --data {} --out {} {}",
        num_steps, rate, folder_.path(data), folder_.path(name), options);
  }
  /// The step with the sample, as a run that stops for it says.
  Index bad_step() {
    const Outcome outcome = conclave(command("stops", "--checkpoint-every 2"));
    EXPECT_EQ(outcome.exit_code, 1) << outcome.output;
    const auto at = outcome.output.find("conclave train: step ");
    if (at == std::string::npos) return -1;
    return std::stol(outcome.output.substr(at + 21));
  }
  [[nodiscard]] std::vector<nlohmann::json> records(const std::string& name) const {
    std::vector<nlohmann::json> all;
    std::istringstream lines(content_of(folder_.path(name + "/metrics.jsonl")));
    for (std::string line; std::getline(lines, line);) {
      if (auto record = nlohmann::json::parse(line); record["kind"] == "step") all.push_back(std::move(record));
    }
    return all;
  }
  /// Every step stands in the log once, `bad` as skipped.
  void expect_log(const std::string& name, Index bad) const {
    const auto lines = records(name);
    ASSERT_EQ(std::ssize(lines), num_steps) << name;
    const train::Hdf5File file = train::Hdf5File::open(folder_.path(name + "/run.h5"));
    const auto skipped = file.read<std::int64_t>("/steps/skipped");
    ASSERT_EQ(std::ssize(skipped), num_steps);
    for (Index step = 1; step <= num_steps; ++step) {
      const nlohmann::json& line = lines[static_cast<std::size_t>(step - 1)];
      EXPECT_EQ(line["step"], step);
      EXPECT_EQ(line["skipped"].get<std::string>().starts_with(fmt::format("step {}: ", step)), step == bad) << line;
      EXPECT_EQ(line["loss"].is_null(), step == bad) << line;
      EXPECT_EQ(skipped[static_cast<std::size_t>(step - 1)], step == bad ? 1 : 0);
    }
  }

  TemporaryFolder folder_;
};

TEST_F(NotFiniteRun, StopsAndSaysWhereAndHowToGoOn) {
  const Index bad = bad_step();
  ASSERT_GT(bad, 2) << "a checkpoint is to be written before";
  ASSERT_LT(bad, num_steps);
  const std::string last = fmt::format("step-{:08}.h5", (bad - 1) / 2 * 2);
  for (const char* how : {"", "--checkpoint-async"}) {
    const std::string name = fmt::format("three{}", how);
    const Outcome outcome = on_ranks(3, CONCLAVE_PROGRAM, command(name, fmt::format("--checkpoint-every 2 {}", how)));
    EXPECT_EQ(outcome.exit_code, 1) << outcome.output;
    EXPECT_GE(count(outcome.output, fmt::format("step {}: the router's logits of token ", bad)), 1) << outcome.output;
    EXPECT_GE(count(outcome.output, "the gradient of layer 1, expert "), 1) << outcome.output;
    EXPECT_GE(count(outcome.output, fmt::format("{}/{}", folder_.path(name), last)), 1) << outcome.output;
    EXPECT_EQ(fs::read_symlink(folder_.path(name + "/latest")), last);
    EXPECT_EQ(std::ssize(records(name)), bad - 1);
  }
  // What the hint says.
  const Outcome resumed =
      on_ranks(2, CONCLAVE_PROGRAM, fmt::format("train --resume {} --skip-steps {}", folder_.path("three"), bad));
  EXPECT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_EQ(count(resumed.output, fmt::format("Skipped: 1 of {} steps ({})", num_steps - (bad - 1) / 2 * 2, bad)), 1)
      << resumed.output;
  expect_log("three", bad);
}

TEST_F(NotFiniteRun, SkipsWithTheSameBitsOnOtherRanksAndWhenCut) {
  const Index bad = bad_step();
  const Outcome outcome = conclave(command("one", "--on-nan skip"));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(count(outcome.output, fmt::format("skipped: step {}: ", bad)), 1) << outcome.output;
  EXPECT_EQ(count(outcome.output, fmt::format("Skipped: 1 of {} steps ({})", num_steps, bad)), 1) << outcome.output;
  EXPECT_EQ(count(outcome.output, "nan"), 0) << outcome.output;
  expect_log("one", bad);
  const std::string digest = digest_of(folder_.path("one"));
  EXPECT_EQ(digest.size(), 16U) << digest;
  ASSERT_EQ(on_ranks(4, CONCLAVE_PROGRAM, command("four", "--on-nan skip")).exit_code, 0);
  EXPECT_EQ(digest_of(folder_.path("four")), digest);
  for (const Index cut : {bad, bad - 1}) {
    const std::string name = fmt::format("cut{}", cut);
    const std::string options = fmt::format("--on-nan skip --stop-after {}", cut);
    ASSERT_EQ(on_ranks(2, CONCLAVE_PROGRAM, command(name, options)).exit_code, 0);
    ASSERT_EQ(conclave("train --resume " + folder_.path(name)).exit_code, 0);
    EXPECT_EQ(digest_of(folder_.path(name)), digest);
    expect_log(name, bad);
  }
}

TEST_F(NotFiniteRun, GoesBackWithTheBitsOfARunThatWasTold) {
  const Index bad = bad_step();
  ASSERT_EQ(conclave(command("told", fmt::format("--skip-steps {}", bad))).exit_code, 0);
  const std::string digest = digest_of(folder_.path("told"));
  EXPECT_EQ(digest.size(), 16U) << digest;
  const std::vector<std::pair<std::string, std::string>> ways{
      {"waits", "--checkpoint-every 2"},
      {"async", "--checkpoint-every 2 --checkpoint-async"},
      {"auto", "--checkpoint-every auto --mtbf 1000000000 --checkpoint-async"},
      {"anew", "--checkpoint-every 0"},
  };
  Index ranks = 1;
  for (const auto& [name, options] : ways) {
    SCOPED_TRACE(name);
    const Outcome outcome = on_ranks(ranks++, CONCLAVE_PROGRAM, command(name, options + " --on-nan rollback"));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_EQ(count(outcome.output, "; back to the end of step "), 1) << outcome.output;
    EXPECT_EQ(count(outcome.output, "Times that the run went back: 1"), 1) << outcome.output;
    EXPECT_EQ(digest_of(folder_.path(name)), digest);
    expect_log(name, bad);
    EXPECT_EQ(conclave("inspect --verify " + folder_.path(name)).exit_code, 0);
  }
}

TEST_F(NotFiniteRun, GoesBackToTheParametersThatItBeganAt) {
  const Index bad = bad_step();
  ASSERT_EQ(conclave(command("source", "--stop-after 2", "sound.h5")).exit_code, 0);
  const std::string start = fmt::format("--checkpoint-every 0 --init-from {} ", folder_.path("source"));
  ASSERT_EQ(conclave(command("told", start + fmt::format("--skip-steps {}", bad))).exit_code, 0);
  const Outcome outcome = on_ranks(2, CONCLAVE_PROGRAM, command("back", start + "--on-nan rollback"));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(count(outcome.output, "back to the end of step 0"), 1) << outcome.output;
  EXPECT_EQ(digest_of(folder_.path("back")), digest_of(folder_.path("told")));
  ASSERT_EQ(conclave(command("other", fmt::format("--skip-steps {}", bad))).exit_code, 0);
  EXPECT_NE(digest_of(folder_.path("other")), digest_of(folder_.path("told")));
}

TEST_F(NotFiniteRun, EndsWhereEveryStepIsBad) {
  for (const char* on_nan : {"skip", "rollback"}) {
    const std::string options = fmt::format("--on-nan {} --on-nan-limit 2 --checkpoint-every 0", on_nan);
    const Outcome outcome = on_ranks(2, CONCLAVE_PROGRAM, command(on_nan, options, "sound.h5", 1e30));
    EXPECT_EQ(outcome.exit_code, 1) << outcome.output;
    EXPECT_GE(count(outcome.output, "on_nan_limit = 2"), 1) << outcome.output;
  }
  EXPECT_EQ(count(conclave(command("wrong", "--on-nan-limit 0")).output, "on_nan_limit = 0"), 1);
  EXPECT_EQ(count(conclave(command("wrong", "--skip-steps 0")).output, "skip_steps has 0"), 1);
}

}  // namespace
}  // namespace conclave
