// SPDX-License-Identifier: BSD-3-Clause
// Words for a shell and for sbatch, and job files made of them.
#include "apps/job_file.hpp"
#include "apps/child_process.hpp"
#include "apps/shell_words.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace conclave::apps {
namespace {

using train::TemporaryFolder;

const std::vector<std::string> strange_words{"",
                                             "plain-1.0/x_%a,=:@+",
                                             "two words",
                                             "it's",
                                             "\"",
                                             "$HOME $(echo run) `echo run`",
                                             "line\nbreak\n",
                                             "\t\x01\x7f",
                                             "\001234",
                                             "a\\nb\\",
                                             "-n",
                                             "--",
                                             "~",
                                             "*?[a-z]{1,2}",
                                             "#none",
                                             "a;b|c&d>e<f",
                                             "!!",
                                             "\\'",
                                             "'",
                                             "\xc3\xa4\xff",
                                             " ends with blank "};

TEST(ShellWords, are_read_back_by_a_shell) {
  const TemporaryFolder folder;
  std::string script = "set --";
  for (const std::string& word : strange_words) {
    const std::string quoted = shell_quoted(word);
    EXPECT_EQ(quoted.find('\n'), std::string::npos) << quoted;
    script += ' ' + quoted;
  }
  folder.write("script", script + "\nprintf '%s\\0' \"$@\"\n");
  const ChildOutcome outcome = run_child({"bash", folder.path("script")}, 60.0);
  std::string expected;
  for (const std::string& word : strange_words) expected += word + '\0';
  EXPECT_EQ(outcome.output, expected);
  EXPECT_EQ(shell_quoted("plain-1.0/x"), "plain-1.0/x");
  EXPECT_THROW(static_cast<void>(shell_quoted(std::string_view("a\0b", 3))), InvariantError);
}

TEST(SbatchWords, are_quoted_or_refused) {
  EXPECT_EQ(sbatch_quoted("output", "%x-%j.out"), "%x-%j.out");
  EXPECT_EQ(sbatch_quoted("job_name", "a \"b\" #1 \\ it's"), R"("a \"b\" \#1 \\ it's")");
  for (const char* wrong : {"a\nb", "a\rb", "\t"}) {
    EXPECT_THROW(static_cast<void>(sbatch_quoted("job_name", wrong)), InputError) << wrong;
  }
}

TEST(JobFile, has_times_in_sbatchs_form) {
  EXPECT_EQ(sbatch_time(1.0), "0-00:01:00");
  EXPECT_EQ(sbatch_time(3600.0), "0-01:00:00");
  EXPECT_EQ(sbatch_time(86400.0 + 3661.0), "1-01:02:00");
  for (const double endless : {1e12, 1e300, std::numeric_limits<double>::infinity()}) {
    EXPECT_THROW(static_cast<void>(sbatch_time(endless)), InputError) << endless;
  }
}

TEST(JobFile, knows_the_tasks_of_an_array) {
  using Tasks = std::vector<Index>;
  EXPECT_EQ(array_tasks("1-3"), (Tasks{1, 2, 3}));
  EXPECT_EQ(array_tasks("1,3,5-7%2"), (Tasks{1, 3, 5, 6, 7}));
  EXPECT_EQ(array_tasks("0-9:4"), (Tasks{0, 4, 8}));
  for (const char* wrong : {"", "a", "3-1", "1-", "1,,2", "1-3:0", "1-3%", "1-3%0", "1 2", "-1", "1-99999999999"}) {
    EXPECT_THROW(static_cast<void>(array_tasks(wrong)), InputError) << wrong;
  }
}

TEST(JobFile, is_its_template_filled_in) {
  const TemporaryFolder folder;
  folder.write("x.sbatch",
               "#!/bin/bash\n# x: help\n#SBATCH --job-name=x\n#SBATCH --exclusive\n#SBATCH --mem=0\nset -eu\n\n"
               "# finds\nslurm_folder=$(find it)\nsource a\n# stays\necho \"$@\"\n");
  JobFile file(folder.path(), "x");
  file.comment("of a test");
  file.set("mem", "12M");
  file.set("partition", "two words");
  file.set_flag("exclusive", false);
  EXPECT_EQ(file.text("/bin/it's", "/where it is", {"a b", "--c"}),
            "#!/usr/bin/env bash\n# of a test\n#SBATCH --job-name=x\n#SBATCH --mem=12M\n"
            "#SBATCH --partition=\"two words\"\n#SBATCH --chdir=\"/where it is\"\nset -eu\n\nslurm_folder=" +
                shell_quoted(folder.path()) +
                "\nCONCLAVE='/bin/it'\\''s'\nset -- 'a b' --c\nsource a\n# stays\necho \"$@\"\n");
  folder.write("no.sbatch", "echo\n");
  EXPECT_THROW(JobFile(folder.path(), "no"), InputError);
  EXPECT_THROW(JobFile(folder.path(), "none"), InputError);
}

TEST(JobFile, refuses_options_at_odds) {
  const auto refused = [](auto change) {
    JobOptions options;
    validate(options);
    change(options);
    EXPECT_THROW(validate(options), InputError);
  };
  refused([](JobOptions& o) { o.nodes = 0; });
  refused([](JobOptions& o) { o.cpus_per_task = 0; });
  refused([](JobOptions& o) { o.nodes = 3, o.ntasks = 2; });
  refused([](JobOptions& o) { o.ntasks = 3, o.ntasks_per_node = 2; });
  refused([](JobOptions& o) { o.mem = "much"; });
  refused([](JobOptions& o) { o.time = Duration{0.0}; });
  JobOptions uneven;
  uneven.nodes = 2;
  uneven.ntasks = 5;
  EXPECT_EQ(uneven.ranks_per_node(), 3);
}

}  // namespace
}  // namespace conclave::apps
