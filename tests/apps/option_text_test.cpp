// SPDX-License-Identifier: BSD-3-Clause
#include "apps/option_text.hpp"

#include <gtest/gtest.h>

#include <sstream>

#include "tests/apps/options_for_tests.hpp"

namespace conclave::apps {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(OptionText, breaks_lines_at_spaces) {
  EXPECT_EQ(wrapped("one two three", 0, 7), "one two\nthree");
  EXPECT_EQ(wrapped("one two three", 4, 11), "one two\n    three");
  EXPECT_EQ(wrapped("incomprehensible word", 0, 5), "incomprehensible\nword");
  EXPECT_EQ(wrapped("", 3, 10), "");
  EXPECT_EQ(wrapped("  a \n b ", 0, 10), "a b");
}

TEST(OptionText, helps_with_every_option) {
  TestOptions options;
  OptionSections sections;
  describe(options, sections);
  for (const Index width : {40, 60, 100}) {
    const std::string help = options_help(sections, width);
    for (const Option* option : sections.all()) EXPECT_NE(help.find(flag_of(option->name)), std::string::npos);
    for (const std::string& line : lines_of(help)) EXPECT_LE(static_cast<Index>(line.size()), width) << line;
  }
  const std::string help = options_help(sections, 200);
  EXPECT_NE(help.find("Gate:\n"), std::string::npos);
  EXPECT_NE(help.find("\nRun:\n"), std::string::npos);
  EXPECT_NE(help.find("--colour                  an enumeration (one of red, green; default: red)\n"),
            std::string::npos)
      << help;
  EXPECT_NE(help.find("--overlap[=no]            a flag that is on (default: yes)\n"), std::string::npos) << help;
}

TEST(OptionText, of_no_options_is_empty) { EXPECT_EQ(options_help(OptionSections{}, 80), ""); }

TEST(OptionText, writes_help_as_comments) {
  TestOptions options;
  OptionSections sections;
  describe(options, sections);
  for (const std::string& line : lines_of(configuration_text("title", sections))) {
    const bool is_value = line.find(" = ") != std::string::npos && sections.find(line.substr(0, line.find(' ')));
    EXPECT_TRUE(line.empty() || line.starts_with("# ") || is_value) << line;
  }
}

}  // namespace
}  // namespace conclave::apps
