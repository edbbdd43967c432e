// SPDX-License-Identifier: BSD-3-Clause
// Files are made with the rights that the user wants, whatever the folder is called and whatever stands in it.
#include "tests/apps/program.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <filesystem>

namespace conclave {
namespace {

namespace fs = std::filesystem;

using test::content_of;
using test::count;
using test::Outcome;
using train::TemporaryFolder;

const std::string small =
    "train --layers 1 --width 8 --heads 1 --context 8 --experts 3 --expert-hidden 8 --sequences 4 --groups 2 --steps 4 "
    "--checkpoint-every 2 --eval-every 0 --threads 1 ";

/// As a word for a shell.
std::string quoted(const std::string& word) {
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

Outcome train_under(const std::string& umask, const std::string& arguments) {
  return test::run(fmt::format("bash -c {}", quoted(fmt::format("umask {}; exec timeout 100 {} {}{}", umask,
                                                                CONCLAVE_PROGRAM, small, arguments))));
}

TEST(HostileFolder, files_have_the_rights_that_the_umask_leaves) {
  for (const auto& [umask, expected] : {std::pair<std::string, unsigned>{"077", 0600}, {"022", 0644}, {"002", 0664}}) {
    const TemporaryFolder folder;
    const Outcome outcome = train_under(umask, "--out " + folder.path("run"));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    Index num_files = 0;
    for (const auto& entry : fs::directory_iterator(folder.path("run"))) {
      if (entry.is_symlink()) continue;
      ++num_files;
      EXPECT_EQ(static_cast<unsigned>(entry.status().permissions()), expected) << entry.path() << " under " << umask;
    }
    EXPECT_EQ(num_files, 6) << "two checkpoints, run.h5, metrics.jsonl, config.ini, run.lock";
    EXPECT_EQ(static_cast<unsigned>(fs::status(folder.path("run")).permissions()),
              (expected & 0700) | 0100U | ((expected & 0044U) >> 2U) | (expected & 0077U));
  }
}

TEST(HostileFolder, links_that_somebody_has_put_there_are_not_followed) {
  const TemporaryFolder folder;
  folder.write("mine", "keep this");
  for (const char* name : {".step-00000002.h5.partial", ".step-00000004.h5.partial", ".latest.partial", "latest",
                           "config.ini", ".config.ini.partial", "run.h5.next", "run.h5.last", "step-00000004.h5.x"}) {
    fs::create_directories(folder.path("run"));
    fs::create_symlink(folder.path("mine"), fs::path(folder.path("run")) / name);
  }
  const Outcome outcome = train_under("022", "--out " + folder.path("run"));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(content_of(folder.path("mine")), "keep this");
  EXPECT_FALSE(fs::is_symlink(fs::path(folder.path("run")) / "config.ini"));
  EXPECT_EQ(fs::read_symlink(fs::path(folder.path("run")) / "latest"), "step-00000004.h5");
}

TEST(HostileFolder, lines_are_not_added_through_a_link) {
  const TemporaryFolder folder;
  folder.write("mine", "keep this");
  fs::create_directories(folder.path("run"));
  fs::create_symlink(folder.path("mine"), folder.path("run/metrics.jsonl"));
  const Outcome outcome = train_under("022", "--out " + folder.path("run"));
  EXPECT_EQ(outcome.exit_code, 1) << outcome.output;
  EXPECT_EQ(count(outcome.output, "metrics.jsonl"), 1) << outcome.output;
  EXPECT_EQ(content_of(folder.path("mine")), "keep this");
}

TEST(HostileFolder, any_name_will_do) {
  const TemporaryFolder folder;
  for (const std::string name : {"-leading", "new\nline", "quote'\" #1", "$(touch x); ls", "ü\xff=%s{}"}) {
    const std::string out = folder.path(name);
    const Outcome outcome = train_under("022", "--out " + quoted(out));
    ASSERT_EQ(outcome.exit_code, 0) << name << ": " << outcome.output;
    EXPECT_TRUE(fs::exists(fs::path(out) / "step-00000004.h5")) << name;
    const Outcome resumed = train_under("022", "--stop-after 4 --resume " + quoted(out));
    EXPECT_EQ(resumed.exit_code, 0) << name << ": " << resumed.output;
    EXPECT_EQ(count(resumed.output, "nothing to do: 4 of 4"), 1) << name << ": " << resumed.output;
    // What the run wrote down can be run again.
    fs::rename(out, out + ".first");
    const Outcome again = test::conclave("train --config " + quoted(out + ".first/config.ini"));
    EXPECT_EQ(again.exit_code, 0) << name << ": " << again.output;
    EXPECT_EQ(content_of(fs::path(out) / "step-00000004.h5"), content_of(fs::path(out + ".first") / "step-00000004.h5"))
        << name;
  }
}

}  // namespace
}  // namespace conclave
