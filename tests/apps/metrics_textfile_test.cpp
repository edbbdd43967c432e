// SPDX-License-Identifier: BSD-3-Clause
// The file for Prometheus, read by a parser of the exposition format that knows nothing of its writer.
#include "apps/metrics_textfile.hpp"

#include "tests/train/run_log_fixture.hpp"

#include <gmock/gmock.h>

#include <limits>
#include <regex>
#include <set>
#include <sstream>

namespace conclave::apps {
namespace {

using Labels = std::map<std::string, std::string>;

struct Family {
  std::string help, type;
  std::vector<std::pair<Labels, double>> samples;
};

/// As prometheus.io/docs/instrumenting/exposition_formats has it; throws for anything else.
class Parser {
 public:
  explicit Parser(const std::string& text) {
    if (text.empty() || text.back() != '\n') throw std::runtime_error("the last line has no end");
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) read(line);
    for (const auto& [name, family] : families) {
      if (family.samples.empty() || family.help.empty() || family.type.empty()) throw std::runtime_error(name);
    }
  }

  std::map<std::string, Family> families;

  [[nodiscard]] double value(const std::string& name, const Labels& more = {}) const {
    const Family& family = families.at(name);
    for (const auto& [labels, number] : family.samples) {
      const auto has = [&](const auto& label) {
        return labels.contains(label.first) && labels.at(label.first) == label.second;
      };
      if (std::ranges::all_of(more, has)) return number;
    }
    throw std::runtime_error("no such sample of " + name);
  }

 private:
  void read(const std::string& line) {
    static const std::regex comment("# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)");
    std::smatch match;
    if (line.starts_with("#")) {
      if (!std::regex_match(line, match, comment)) throw std::runtime_error(line);
      Family& family = families[match[2]];
      std::string& part = match[1] == "HELP" ? family.help : family.type;
      if (!part.empty() || !family.samples.empty()) throw std::runtime_error("twice, or late: " + line);
      part = match[3];
      if (match[1] == "TYPE" && part != "gauge" && part != "counter") throw std::runtime_error(line);
      return;
    }
    const std::size_t brace = line.find('{');
    const std::string name = line.substr(0, brace);
    if (brace == std::string::npos || !families.contains(name)) throw std::runtime_error(line);
    std::size_t at = brace + 1;
    const Labels labels = labels_of(line, at);
    if (line.substr(at, 2) != "} ") throw std::runtime_error(line);
    std::size_t used = 0;
    const std::string number = line.substr(at + 2);
    const double value = std::stod(number, &used);
    if (used != number.size()) throw std::runtime_error(line);
    for (const auto& [known, unused] : families[name].samples) {
      if (known == labels) throw std::runtime_error("twice: " + line);
    }
    families[name].samples.emplace_back(labels, value);
  }

  static Labels labels_of(const std::string& line, std::size_t& at) {
    Labels labels;
    while (true) {
      const std::size_t equals = line.find("=\"", at);
      if (equals == std::string::npos) throw std::runtime_error(line);
      const std::string name = line.substr(at, equals - at);
      if (!std::regex_match(name, std::regex("[a-zA-Z_][a-zA-Z0-9_]*"))) throw std::runtime_error(line);
      std::string value;
      for (at = equals + 2; line.at(at) != '"'; ++at) {
        if (line[at] != '\\') {
          value += line[at];
          continue;
        }
        const char escaped = line.at(++at);
        if (escaped != 'n' && escaped != '\\' && escaped != '"') throw std::runtime_error(line);
        value += escaped == 'n' ? '\n' : escaped;
      }
      ++at;
      if (!labels.emplace(name, value).second) throw std::runtime_error(line);
      if (line.at(at) != ',') return labels;
      ++at;
    }
  }
};

TEST(MetricsTextfile, ParsesAndSaysWhatIsKnown) {
  RunMetrics metrics{.run = "runs/a", .step = 12, .steps = 100};
  const Parser first(exposition_text(metrics));
  EXPECT_EQ(first.value("conclave_step"), 12.0);
  EXPECT_FALSE(first.families.contains("conclave_loss")) << "not known yet";
  metrics.loss = std::numeric_limits<double>::quiet_NaN();
  metrics.validation_loss = std::numeric_limits<double>::infinity();
  metrics.learning_rate = 1e-5;
  metrics.tokens = Index{1} << 53;
  for (std::size_t p = 0; p < num_phases; ++p) metrics.phase_s[p] = 0.5 + static_cast<double>(p);
  const Parser second(exposition_text(metrics));
  EXPECT_TRUE(std::isnan(second.value("conclave_loss")));
  EXPECT_TRUE(std::isinf(second.value("conclave_validation_loss")));
  EXPECT_EQ(second.value("conclave_learning_rate"), 1e-5);
  EXPECT_EQ(second.value("conclave_tokens_total"), 9007199254740992.0);
  ASSERT_EQ(second.families.at("conclave_phase_seconds_total").samples.size(), num_phases);
  for (const auto& entry : enum_names(Phase{})) {
    EXPECT_EQ(second.value("conclave_phase_seconds_total", {{"phase", std::string(entry.name)}, {"run", "runs/a"}}),
              0.5 + static_cast<double>(entry.value));
  }
  for (const auto& [name, family] : second.families) {
    EXPECT_TRUE(name.starts_with("conclave_")) << name;
    EXPECT_EQ(family.type == "counter", name.ends_with("_total")) << name;
  }
}

TEST(MetricsTextfile, EscapesLabels) {
  const std::string hostile = "a\"b\\c\nd} 1\n# TYPE x gauge\n{e=\"";
  const Parser parser(exposition_text({.run = hostile}));
  for (const auto& [name, family] : parser.families) {
    for (const auto& [labels, value] : family.samples) EXPECT_EQ(labels.at("run"), hostile) << name;
  }
  EXPECT_GT(parser.families.size(), 5U);
}

TEST(MetricsTextfile, AddsUpWhatStepsSay) {
  const train::TemporaryFolder folder;
  const std::string path = folder.path("run.prom");
  std::vector<std::string> told;
  const auto tell = [&](const std::string& line) { told.push_back(line); };
  MetricsTextfile file(path, "run", 4, 40, tell, 0.0);
  EXPECT_FALSE(std::filesystem::exists(path)) << "nothing is to be said yet";
  Index tokens = 0;
  Index dropped = 0;
  Index skipped = 0;
  double experts_s = 0.0;
  double loss = 0.0;
  for (Index step = 5; step <= 12; ++step) {
    const train::StepRecord record = train::some_step(step);
    file.add(record);
    experts_s += record.phases[static_cast<std::size_t>(Phase::experts)].mean_s;
    if (!record.skipped.empty()) {
      ++skipped;
      continue;
    }
    loss = record.loss;
    tokens += record.tokens;
    for (const model::LayerStatistics& layer : record.layers) dropped += layer.over_capacity + layer.refused_second;
  }
  ASSERT_EQ(skipped, 1);
  const Parser before(test::content_of(path));
  EXPECT_EQ(before.value("conclave_checkpoints_total"), 0.0);
  file.add_checkpoint();
  file.add(train::some_evaluation(12));
  train::Evaluation test_part = train::some_evaluation(13);
  test_part.split = train::Split::test;
  file.add(test_part);
  file.close();
  const Parser after(test::content_of(path));
  EXPECT_EQ(after.value("conclave_step"), 12.0);
  EXPECT_EQ(after.value("conclave_planned_steps"), 40.0);
  EXPECT_EQ(after.value("conclave_loss"), loss);
  EXPECT_EQ(after.value("conclave_tokens_total"), static_cast<double>(tokens));
  EXPECT_EQ(after.value("conclave_dropped_claims_total"), static_cast<double>(dropped));
  EXPECT_EQ(after.value("conclave_skipped_steps_total"), 1.0);
  EXPECT_EQ(after.value("conclave_checkpoints_total"), 1.0);
  EXPECT_EQ(after.value("conclave_validation_loss"), train::some_evaluation(12).loss);
  EXPECT_NEAR(after.value("conclave_phase_seconds_total", {{"phase", "experts"}}), experts_s, 1e-12);
  EXPECT_GE(after.value("conclave_time_left_seconds"), 0.0);
  EXPECT_TRUE(told.empty());
}

TEST(MetricsTextfile, IsWrittenNowAndThenAndWhole) {
  const train::TemporaryFolder folder;
  const std::string path = folder.path("run.prom");
  MetricsTextfile file(
      path, "run", 0, 40, [](const std::string&) {}, 1e9);
  file.add(train::some_step(1));
  const std::string first = test::content_of(path);
  EXPECT_EQ(Parser(first).value("conclave_step"), 1.0);
  file.add(train::some_step(2));
  EXPECT_EQ(test::content_of(path), first) << "not at every step";
  file.close();
  EXPECT_EQ(Parser(test::content_of(path)).value("conclave_step"), 2.0);
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    EXPECT_EQ(entry.path().filename(), "run.prom") << "nothing is left beside it";
  }
}

TEST(MetricsTextfile, TellsOnceOfWhatItCannotWrite) {
  const train::TemporaryFolder folder;
  std::vector<std::string> told;
  MetricsTextfile file(
      folder.path("none/run.prom"), "run", 0, 40, [&](const auto& line) { told.push_back(line); }, 0.0);
  for (Index step = 1; step <= 3; ++step) file.add(train::some_step(step));
  file.close();
  ASSERT_EQ(told.size(), 1U);
  EXPECT_NE(told[0].find("none/"), std::string::npos) << told[0];
  std::filesystem::create_directories(folder.path("none"));
  file.add(train::some_step(4));
  EXPECT_EQ(Parser(test::content_of(folder.path("none/run.prom"))).value("conclave_step"), 4.0) << "it tries again";
}

}  // namespace
}  // namespace conclave::apps
