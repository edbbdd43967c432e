// SPDX-License-Identifier: BSD-3-Clause
// That every command has an example, and that the examples are command lines of theirs.
#include "apps/examples.hpp"
#include "apps/command.hpp"
#include "apps/command_line.hpp"

#include <gmock/gmock.h>

#include <sstream>

namespace conclave::apps {
namespace {

std::vector<std::string> words_of(std::string_view line) {
  std::istringstream in{std::string(line)};
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  if (words.size() > 3 && words[0] == "mpirun" && words[1] == "-n") words.erase(words.begin(), words.begin() + 3);
  return words;
}

void expect_called(const std::string& name, std::string_view line) {
  SCOPED_TRACE(line);
  const std::vector<std::string> words = words_of(line);
  ASSERT_GE(words.size(), 2U);
  EXPECT_EQ(words[0], "conclave");
  const CalledCommand called = called_command(std::span(words).subspan(1));
  EXPECT_EQ(called.name, name);
  const auto call = called.command.call();
  OptionSections options;
  call->describe(options);
  const auto no_file = [](const std::string&) { return std::string(); };
  EXPECT_NO_THROW(
      static_cast<void>(parse_command_line(called.words, !called.command.arguments.empty(), options, no_file)));
}

TEST(Examples, AreCommandLinesOfEveryCommand) {
  for (const Command& command : commands()) {
    const std::string name(command.name);
    if (command.members.empty()) {
      for (const std::string_view line : examples_of(name)) expect_called(name, line);
    }
    for (const Command& member : command.members) {
      const std::string of_member = fmt::format("{} {}", name, member.name);
      for (const std::string_view line : examples_of(of_member)) expect_called(of_member, line);
    }
  }
}

TEST(Examples, AreShownByHelp) {
  const std::vector<std::string> words{"bench", "gemm", "--help"};
  EXPECT_THAT(help_text(words, 100).value_or(""),
              testing::HasSubstr("\nFor example:\n  conclave bench gemm --rows 512"));
}

}  // namespace
}  // namespace conclave::apps
