// SPDX-License-Identifier: BSD-3-Clause
#include "apps/config_file.hpp"

#include "apps/option_text.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "tests/apps/options_for_tests.hpp"

namespace conclave::apps {
namespace {

std::map<std::string, std::string> values_in(const std::string& text) {
  TestOptions options;
  OptionSections sections;
  describe(options, sections);
  const ConfigFile file("run.ini", text, sections);
  std::map<std::string, std::string> values;
  for (const ConfigValue& value : file.values()) values[value.option->name] = value.text;
  return values;
}

std::string error_of(const std::string& text) {
  try {
    (void)values_in(text);
  } catch (const InputError& error) {
    return std::string(error.what()) + " | " + error.hint();
  }
  return "no error";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Writes the options out, reads them into fresh ones and returns those.
TestOptions round_trip(TestOptions options) {
  OptionSections written;
  describe(options, written);
  const std::string text = configuration_text("a title\nof two lines", written);
  TestOptions result;
  OptionSections read;
  describe(result, read);
  const ConfigFile file("run.ini", text, read);
  EXPECT_EQ(file.values().size(), read.all().size()) << text;
  for (const ConfigValue& value : file.values()) EXPECT_TRUE(value.option->assign(value.text)) << value.where;
  return result;
}

TEST(ConfigFile, reads_names_of_both_spellings) {
  const std::map<std::string, std::string> expected{{"top_k", "3"}, {"learning_rate", "1e-3"}};
  EXPECT_EQ(values_in("  top_k=3  # comment\r\n\n# learning_rate = 5\nlearning-rate = 1e-3"), expected);
}

TEST(ConfigFile, of_nothing_is_empty) {
  EXPECT_TRUE(values_in("").empty());
  EXPECT_TRUE(values_in("\n# nothing\n").empty());
}

TEST(ConfigFile, reads_quoted_values) {
  EXPECT_EQ(values_in(R"(prompt = " a \"b\" \\ \x23 \n")")["prompt"], " a \"b\" \\ # \n");
  EXPECT_EQ(values_in("prompt =")["prompt"], "");
  EXPECT_EQ(values_in("prompt = \"\"")["prompt"], "");
  EXPECT_EQ(values_in("prompt = it's \"so\"")["prompt"], "it's \"so\"");
}

TEST(ConfigFile, names_what_is_wrong_and_where) {
  EXPECT_TRUE(contains(error_of("top_k = 1\n\ntopk = 3"), "run.ini:3: unknown option 'topk'; did you mean top_k?"));
  EXPECT_TRUE(contains(error_of("top_k = 1\n# x\ntop-k = 2"), "run.ini:3: option 'top_k' is given twice"));
  EXPECT_TRUE(contains(error_of("top_k = 1\ntop_k 2"), "run.ini:2: 'top_k 2' is not 'name = value'"));
  EXPECT_TRUE(contains(error_of("[gate]\ntop_k = 1"), "run.ini:2: unknown option 'gate.top_k'"));
  EXPECT_TRUE(contains(error_of("[gate]\ntop_k = 1"), "no [sections]"));
  EXPECT_TRUE(contains(error_of("prompt = \"a # b\""), "run.ini:1: option 'prompt' has badly quoted text \"a"));
  EXPECT_TRUE(contains(error_of(R"(prompt = "a\q")"), "badly quoted"));
  EXPECT_TRUE(contains(error_of(R"(prompt = "a\x2")"), "badly quoted"));
  EXPECT_TRUE(contains(error_of(R"(prompt = "a"b")"), "badly quoted"));
  EXPECT_TRUE(contains(error_of("config = other.ini"), "unknown option 'config'"));
}

TEST(ConfigFile, gives_back_the_defaults_and_other_values) {
  EXPECT_EQ(round_trip(TestOptions{}), TestOptions{});
  const TestOptions other{-7, 0.1, false, true, "two words", {"x y", "#z"}, {}, Colour::green};
  EXPECT_EQ(round_trip(other), other);
}

TEST(ConfigFile, gives_back_any_text) {
  for (const std::string text :
       {"", " ", "  spaces around ", "#", "a # b", "\"", "\"quoted\"", "back\\slash", "\\", "a\nb\r\n\tc", "=", "a=b",
        "[x]", "M\xc3\xbcller", "'", "ends with \\\"", "\x01\x7f"}) {
    TestOptions options;
    options.prompt = text;
    EXPECT_EQ(round_trip(options).prompt, text);
  }
}

TEST(ConfigFile, gives_back_any_number) {
  for (const double value : {0.1, 1.0 / 3.0, 1e300, -5e-324, 6.02214076e23, std::numeric_limits<double>::max(), -0.0}) {
    TestOptions options;
    options.learning_rate = value;
    const double got = round_trip(options).learning_rate;
    EXPECT_EQ(got, value);
    EXPECT_EQ(std::signbit(got), std::signbit(value));
  }
}

}  // namespace
}  // namespace conclave::apps
