// SPDX-License-Identifier: BSD-3-Clause
#include "apps/command_line.hpp"

#include <gtest/gtest.h>

#include "tests/apps/options_for_tests.hpp"

namespace conclave::apps {
namespace {

struct Parsed {
  TestOptions options;
  ParsedLine line;
};

Parsed parse(const std::vector<std::string>& words, bool takes_arguments = false, const std::string& config = "") {
  Parsed parsed;
  OptionSections sections;
  describe(parsed.options, sections);
  parsed.line = parse_command_line(words, takes_arguments, sections, [&](const std::string&) { return config; });
  return parsed;
}

// The message and hint of the InputError that parsing throws; "no error" without one.
std::string error_of(const std::vector<std::string>& words, bool takes_arguments = false,
                     const std::string& config = "") {
  try {
    (void)parse(words, takes_arguments, config);
  } catch (const InputError& error) {
    return std::string(error.what()) + " | " + error.hint();
  }
  return "no error";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(CommandLine, without_words_keeps_the_defaults) { EXPECT_EQ(parse({}).options, TestOptions{}); }

TEST(CommandLine, gives_every_kind_of_option_its_value) {
  const TestOptions got = parse({"--top-k", "4", "--learning-rate=0.125", "--no-overlap", "--resume", "--prompt",
                                 "two words", "--files", "x,y,z", "--sizes=8,16", "--colour", "green"})
                              .options;
  const TestOptions expected{4, 0.125, false, true, "two words", {"x", "y", "z"}, {8, 16}, Colour::green};
  ASSERT_NE(expected, TestOptions{});
  EXPECT_EQ(got, expected);
}

TEST(CommandLine, takes_names_with_dashes_and_underscores) {
  for (const std::string word : {"--top-k", "--top_k"}) {
    EXPECT_EQ(parse({word, "7"}).options.top_k, 7) << word;
    EXPECT_EQ(parse({word + "=7"}).options.top_k, 7) << word;
  }
}

TEST(CommandLine, takes_flags_in_all_their_forms) {
  EXPECT_TRUE(parse({"--resume"}).options.resume);
  EXPECT_TRUE(parse({"--resume=yes"}).options.resume);
  EXPECT_FALSE(parse({"--overlap=no"}).options.overlap);
  EXPECT_FALSE(parse({"--no-overlap"}).options.overlap);
  EXPECT_FALSE(parse({"--no_overlap"}).options.overlap);
  // A flag does not eat the word behind it.
  const Parsed parsed = parse({"--resume", "no"}, true);
  EXPECT_TRUE(parsed.options.resume);
  EXPECT_EQ(parsed.line.arguments, std::vector<std::string>{"no"});
}

TEST(CommandLine, keeps_values_as_they_are) {
  EXPECT_EQ(parse({"--prompt", "--dashes_and-more"}).options.prompt, "--dashes_and-more");
  EXPECT_EQ(parse({"--prompt=a=b=c"}).options.prompt, "a=b=c");
  EXPECT_EQ(parse({"--prompt", "-x"}).options.prompt, "-x");
  EXPECT_EQ(parse({"--prompt", ""}).options.prompt, "");
  EXPECT_EQ(parse({"--prompt="}).options.prompt, "");
  EXPECT_EQ(parse({"--learning-rate", "-0.5"}).options.learning_rate, -0.5);
}

TEST(CommandLine, adds_up_a_list_of_words_that_is_given_several_times) {
  EXPECT_EQ(parse({"--files", "x,y", "--files=z", "--top-k", "4"}).options.files,
            (std::vector<std::string>{"x", "y", "z"}));
  EXPECT_TRUE(contains(error_of({"--sizes", "8", "--sizes", "16"}), "is given twice"));
}

TEST(CommandLine, takes_arguments_only_where_the_command_does) {
  EXPECT_EQ(parse({"one", "--top-k", "3", "two", "--", "--top-k"}, true).line.arguments,
            (std::vector<std::string>{"one", "two", "--top-k"}));
  EXPECT_TRUE(contains(error_of({"one"}), "unexpected argument 'one'")) << error_of({"one"});
}

TEST(CommandLine, knows_help_among_bad_words) {
  EXPECT_TRUE(parse({"--nonsense", "--help"}).line.help);
  EXPECT_TRUE(parse({"-h"}).line.help);
  EXPECT_FALSE(parse({"--", "--help"}, true).line.help);
}

TEST(CommandLine, names_what_is_wrong) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases{
      {{"--topk", "3"}, "unknown option '--topk'; did you mean --top-k?"},
      {{"--lerning_rate=3"}, "unknown option '--lerning_rate'; did you mean --learning-rate?"},
      {{"--confg", "x"}, "did you mean --config?"},
      {{"--topk="}, "unknown option '--topk'; did you mean --top-k?"},
      {{"--no-prompt"}, "unknown option '--no-prompt'"},
      {{"--top-k", "many"}, "option '--top-k' cannot be 'many' | it takes an integer; the default is '2'"},
      {{"--colour", "blue"}, "option '--colour' cannot be 'blue' | it takes one of red, green; the default is 'red'"},
      {{"--resume=perhaps"}, "option '--resume' cannot be 'perhaps'"},
      {{"--resume="}, "option '--resume'"},
      {{"--top-k"}, "option '--top-k' needs a value | it takes an integer"},
      {{"--top-k", "--resume"}, "option '--top-k' needs a value"},
      {{"--config"}, "option '--config' needs a value"},
      {{"--top-k", "3", "--top_k=4"}, "option '--top-k' is given twice"},
      {{"--resume", "--no-resume"}, "option '--resume' is given twice"},
      {{"--config", "a", "--config", "b"}, "option '--config' is given twice"},
  };
  for (const auto& [words, expected] : cases) {
    EXPECT_TRUE(contains(error_of(words), expected)) << words[0] << ": " << error_of(words);
  }
}

TEST(CommandLine, wins_over_the_file_which_wins_over_the_defaults) {
  const Parsed parsed = parse({"--config", "run.ini", "--top-k=5"}, false, "top_k = 3\nprompt = from the file\n");
  EXPECT_EQ(parsed.line.config, "run.ini");
  EXPECT_EQ(parsed.options.top_k, 5);
  EXPECT_EQ(parsed.options.prompt, "from the file");
  EXPECT_EQ(parsed.options.learning_rate, TestOptions{}.learning_rate);
}

TEST(CommandLine, tells_which_options_were_given) {
  const Parsed parsed = parse({"--config", "run.ini", "--no-overlap"}, false, "top_k = 3\noverlap = yes\n");
  EXPECT_EQ(parsed.line.given, (std::set<std::string>{"overlap", "top_k"}));
  EXPECT_EQ(parsed.line.from_file, (std::set<std::string>{"top_k"}));
  EXPECT_FALSE(parsed.options.overlap);
  EXPECT_TRUE(parse({}).line.given.empty());
}

TEST(CommandLine, names_the_line_of_a_bad_value_in_the_file) {
  EXPECT_TRUE(contains(error_of({"--config", "run.ini"}, false, "# comment\n\ntop_k = many\n"),
                       "run.ini:3: option 'top_k' cannot be 'many' | it takes an integer"));
}

TEST(CommandLine, refuses_one_name_in_two_sections) {
  OptionSections sections;
  Index value = 0;
  sections.section("one").add("value", value, "");
  sections.section("two").add("value", value, "");
  EXPECT_THROW((void)sections.all(), InvariantError);
}

TEST(CommandLine, without_options_works) {
  const OptionSections none;
  EXPECT_TRUE(parse_command_line({}, false, none).arguments.empty());
  const std::vector<std::string> words{"--any"};
  EXPECT_THROW((void)parse_command_line(words, false, none), InputError);
}

TEST(CommandLine, reads_files) {
  EXPECT_THROW((void)read_file("/nonexistent/file"), InputError);
  EXPECT_THROW((void)read_file(testing::TempDir()), InputError);
  EXPECT_EQ(read_file("/dev/null"), "");
}

}  // namespace
}  // namespace conclave::apps
