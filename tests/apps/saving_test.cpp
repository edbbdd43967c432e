// SPDX-License-Identifier: BSD-3-Clause
// A run from the command line whose checkpoints are written while it goes on, or cannot be written.
#include "tests/apps/program.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

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

const std::string small =
    "train --steps 6 --layers 1 --width 24 --heads 2 --context 8 --experts 3 --expert-hidden 16 --sequences 6 "
    "--groups 3 --eval-sequences 3 --eval-every 0 ";

/// What lets the save of `step` fail without being root: its temporary name is taken.
void block(const TemporaryFolder& folder, const std::string& run, Index step) {
  folder.write(fmt::format("{}/.step-{:08}.h5.partial/file", run, step), "mine");
}
void unblock(const TemporaryFolder& folder, const std::string& run, Index step) {
  fs::remove_all(folder.path(fmt::format("{}/.step-{:08}.h5.partial", run, step)));
}

TEST(Saving, in_the_background_writes_the_same_files) {
  const TemporaryFolder folder;
  const std::string options = small + "--checkpoint-every 1 --keep-last 2 --keep-every 3 --out ";
  ASSERT_EQ(conclave(options + folder.path("waits")).exit_code, 0);
  const Outcome outcome = on_ranks(3, CONCLAVE_PROGRAM, options + folder.path("goes_on") + " --checkpoint-async");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(count(outcome.output, "for which the run stopped"), 5) << outcome.output;
  for (const char* name : {"step-00000003.h5", "step-00000005.h5", "step-00000006.h5"}) {
    SCOPED_TRACE(name);
    const std::string bytes = content_of(folder.path("waits") + "/" + name);
    EXPECT_GT(bytes.size(), 10000U);
    EXPECT_EQ(bytes, content_of(folder.path("goes_on") + "/" + name));
  }
  EXPECT_FALSE(fs::exists(folder.path("goes_on/step-00000004.h5")));
  EXPECT_EQ(fs::read_symlink(folder.path("goes_on/latest")), "step-00000006.h5");
}

TEST(Saving, that_fails_is_tried_again) {
  const TemporaryFolder folder;
  for (const char* how : {"", "--checkpoint-async "}) {
    const std::string run = fmt::format("run{}", how).substr(0, 8);
    block(folder, run, 2);
    const Outcome outcome =
        on_ranks(2, CONCLAVE_PROGRAM, small + how + "--checkpoint-every 2 --out " + folder.path(run));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_EQ(count(outcome.output, "not saved; the run goes on and tries again"), 1) << outcome.output;
    EXPECT_EQ(count(outcome.output, "earlier checkpoints"), 0) << outcome.output;
    EXPECT_FALSE(fs::exists(folder.path(run + "/step-00000002.h5")));
    EXPECT_TRUE(fs::exists(folder.path(run + "/step-00000004.h5")));
    EXPECT_EQ(conclave("inspect --verify " + folder.path(run)).exit_code, 0);
  }
}

TEST(Saving, that_fails_stops_the_run_that_asked_for_it) {
  const TemporaryFolder folder;
  ASSERT_EQ(conclave(small + "--out " + folder.path("whole")).exit_code, 0);
  for (const std::string how : {"", "--checkpoint-async "}) {
    SCOPED_TRACE(how);
    const std::string run = how.empty() ? "waits" : "goes_on";
    block(folder, run, 4);
    const std::string out = how + "--checkpoint-every 2 --out " + folder.path(run);
    const Outcome outcome = on_ranks(2, CONCLAVE_PROGRAM, small + "--on-save-failure stop " + out);
    EXPECT_NE(outcome.exit_code, 0);
    EXPECT_EQ(count(outcome.output, "cannot write checkpoint"), 1) << outcome.output;
    EXPECT_TRUE(fs::exists(folder.path(run + "/step-00000002.h5")));
    EXPECT_FALSE(fs::exists(folder.path(run + "/step-00000006.h5")));
    unblock(folder, run, 4);
    EXPECT_EQ(conclave("train --resume " + folder.path(run)).exit_code, 0);
    EXPECT_EQ(digest_of(folder.path(run)), digest_of(folder.path("whole")));
  }
}

TEST(Saving, the_end_in_vain_is_an_error) {
  const TemporaryFolder folder;
  block(folder, "run", 6);
  const Outcome outcome = on_ranks(2, CONCLAVE_PROGRAM, small + "--checkpoint-every 4 --out " + folder.path("run"));
  EXPECT_NE(outcome.exit_code, 0);
  EXPECT_EQ(count(outcome.output, "not saved; the run goes on and tries again"), 3) << outcome.output;
  EXPECT_EQ(count(outcome.output, "could not be saved"), 1) << outcome.output;
  EXPECT_EQ(conclave("inspect --verify " + folder.path("run/step-00000004.h5")).exit_code, 0);
}

TEST(Saving, a_log_that_vanishes_is_told_of_at_once_and_at_the_end) {
  const TemporaryFolder folder;
  const std::string out = folder.path("run");
  std::string longer = small;
  longer.replace(longer.find("--steps 6"), 9, "--steps 40");
  // The log goes as soon as there is a checkpoint.
  const Outcome outcome = test::run(
      fmt::format("sh -c 'timeout 100 {} {} --checkpoint-every 2 --out {} & "
                  "until [ -e {}/latest ] || ! kill -0 $!; do sleep 0.01; done; rm {}/metrics.jsonl; wait $!'",
                  CONCLAVE_PROGRAM, longer, out, out, out));
  EXPECT_NE(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(count(outcome.output, "the run goes on without its log"), 1) << outcome.output;
  EXPECT_TRUE(fs::exists(out + "/step-00000040.h5"));
}

TEST(Saving, as_often_as_failures_ask_for) {
  const TemporaryFolder folder;
  const std::string out = "--out " + folder.path("run");
  const Outcome outcome = on_ranks(2, CONCLAVE_PROGRAM, small + "--checkpoint-every auto --mtbf 1000-12:00 " + out);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(count(outcome.output, "step 1: saved"), 1) << outcome.output;
  EXPECT_EQ(count(outcome.output, ": saved"), 2) << outcome.output;
  EXPECT_EQ(count(outcome.output, "saves every "), 1) << outcome.output;
  EXPECT_EQ(count(outcome.output, "failures are 1000 d 12 h apart"), 1) << outcome.output;
  EXPECT_EQ(count(content_of(folder.path("run/config.ini")), "\nmtbf = 1000d12h\n"), 1);
  for (const char* wrong : {"--checkpoint-every auto ", "--mtbf 60 "}) {
    EXPECT_EQ(count(conclave(small + wrong).output, "mean time between failures"), 1) << wrong;
  }
}

TEST(Saving, can_be_verified) {
  const TemporaryFolder folder;
  const std::string out = folder.path("run");
  ASSERT_EQ(conclave(small + "--checkpoint-every 2 --out " + out).exit_code, 0);
  const Outcome sound = on_ranks(2, CONCLAVE_PROGRAM, "inspect --verify " + out);
  EXPECT_EQ(sound.exit_code, 0) << sound.output;
  EXPECT_EQ(count(sound.output, "sound    "), 3) << sound.output;
  // One bit of the last value in the file.
  std::string bytes = content_of(out + "/step-00000004.h5");
  const std::size_t at = bytes.size() * 3 / 4;
  bytes[at] = static_cast<char>(bytes[at] ^ 1);
  folder.write("run/step-00000004.h5", bytes);
  const Outcome damaged = on_ranks(2, CONCLAVE_PROGRAM, "inspect --verify " + out);
  EXPECT_EQ(damaged.exit_code, 1) << damaged.output;
  EXPECT_EQ(count(damaged.output, "sound    "), 2) << damaged.output;
  EXPECT_EQ(count(damaged.output, "damaged  " + out + "/step-00000004.h5"), 1) << damaged.output;
  EXPECT_NE(conclave("inspect --verify " + folder.path("nothing")).exit_code, 0);
  // What is damaged is passed over, by the link too.
  fs::remove(out + "/step-00000006.h5");
  const Outcome resumed = conclave("train --resume " + out + " --steps 3 --out " + folder.path("again"));
  EXPECT_EQ(count(resumed.output, "passed over: "), 2) << resumed.output;
  EXPECT_EQ(count(resumed.output, "resumed from " + out + "/step-00000002.h5"), 1) << resumed.output;
}

}  // namespace
}  // namespace conclave
