// SPDX-License-Identifier: BSD-3-Clause
// A run seen from outside: watched while it goes on, told to Prometheus, and reported.
#include "tests/apps/refusal.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/temporary_folder.hpp"

#include <filesystem>

namespace conclave {
namespace {

using test::conclave;
using test::content_of;
using test::count;
using test::expect_refusal;
using test::on_ranks;
using test::Outcome;
using testing::HasSubstr;
using testing::Not;
using train::TemporaryFolder;

const std::string small =
    "train --steps 6 --layers 2 --width 40 --heads 2 --context 12 --experts 5 --expert-hidden 48 --sequences 10 "
    "--groups 5 --eval-sequences 7 --checkpoint-every 2 --eval-every 3 ";

void expect_success(const Outcome& outcome) { ASSERT_EQ(outcome.exit_code, 0) << outcome.output; }

class Watching : public testing::TestWithParam<Index> {};

TEST_P(Watching, TellsAndReportsARunThatWasCut) {
  const TemporaryFolder folder(std::to_string(GetParam()));
  const std::string out = folder.path("run");
  const std::string prom = folder.path("run.prom");
  expect_success(
      on_ranks(GetParam(), CONCLAVE_PROGRAM, small + "--stop-after 3 --metrics-textfile " + prom + " --out " + out));
  const std::string cut = content_of(prom);
  EXPECT_THAT(cut, HasSubstr(fmt::format("conclave_step{{run=\"{}\"}} 3\n", out)));
  EXPECT_THAT(cut, HasSubstr(fmt::format("conclave_checkpoints_total{{run=\"{}\"}} 2\n", out)));
  EXPECT_THAT(cut, HasSubstr(fmt::format("conclave_tokens_total{{run=\"{}\"}} 360\n", out)));
  std::filesystem::remove(prom);
  expect_success(on_ranks(GetParam(), CONCLAVE_PROGRAM, "train --resume " + out));
  EXPECT_FALSE(std::filesystem::exists(prom)) << "where to tell is of one start";

  const Outcome watched = conclave("watch --once " + out);
  expect_success(watched);
  EXPECT_THAT(watched.output, HasSubstr("step 6/6  loss "));
  EXPECT_THAT(watched.output, HasSubstr("saved step 6"));
  EXPECT_THAT(watched.output, HasSubstr("the run has ended: all 6 steps are done"));

  const std::string page = folder.path("report.html");
  const Outcome reported = on_ranks(GetParam(), CONCLAVE_PROGRAM,
                                    fmt::format("report {} --out {} --svg-folder {}", out, page, folder.path("svg")));
  expect_success(reported);
  EXPECT_EQ(count(reported.output, page), 1) << reported.output;
  const std::string html = content_of(page);
  EXPECT_THAT(html, HasSubstr(fmt::format("2: after step 0 on {0} ranks; after step 3 on {0} ranks", GetParam())));
  EXPECT_THAT(html, HasSubstr("4, the last of step 6")) << "after steps 2, 3, 4 and 6";
  EXPECT_THAT(html, HasSubstr("6 of 6"));
  for (const char* name : {"loss", "learning-rate", "gradient-norm", "drop-rate", "entropy", "domains", "load",
                           "tokens-per-s", "phases"}) {
    const std::string svg = content_of(folder.path(fmt::format("svg/{}.svg", name)));
    EXPECT_TRUE(svg.starts_with("<svg ")) << name;
    EXPECT_THAT(html, HasSubstr(svg)) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, Watching, testing::Values(1, 2, 3, 4, 6));

TEST(Watching, FollowsARunToItsEnd) {
  const TemporaryFolder folder;
  const std::string out = folder.path("run");
  std::filesystem::create_directories(out);
  const Outcome both = test::run(fmt::format(
      "sh -c 'timeout 100 {0} {1} --steps 60 --out {2} >{2}.log 2>&1 & timeout 90 {0} watch --every 0.2 {2}; "
      "echo watched $?; wait $!; echo trained $?'",
      CONCLAVE_PROGRAM, small.substr(0, small.find(" --steps")) + small.substr(small.find(" --layers")), out));
  EXPECT_THAT(both.output, HasSubstr("the run has ended: all 60 steps are done\nwatched 0\n"))
      << content_of(out + ".log");
  EXPECT_THAT(both.output, HasSubstr("trained 0\n"));
  EXPECT_THAT(both.output, HasSubstr("step 60/60"));
}

TEST(Watching, SaysThatARunIsSilentOrGone) {
  const TemporaryFolder folder;
  const std::string out = folder.path("run");
  expect_success(conclave(small + "--stop-after 3 --out " + out));
  expect_success(test::run(fmt::format("touch -d '10 minutes ago' {}/metrics.jsonl", out)));
  const Outcome gone = conclave("watch " + out);
  expect_success(gone);
  EXPECT_THAT(gone.output, HasSubstr("the run has ended after step 3: its process is gone"));
  EXPECT_THAT(gone.output, HasSubstr("--resume " + out));
  // The process cannot be seen from here.
  std::filesystem::remove(out + "/run.lock");
  const Outcome silent = conclave("watch --once " + out);
  expect_success(silent);
  EXPECT_THAT(silent.output, HasSubstr("silent: nothing was logged for 10 min"));
  EXPECT_THAT(conclave("watch --once --silent-after 1h " + out).output, Not(HasSubstr("silent")));
  const std::string whole = content_of(out + "/metrics.jsonl");
  const auto last_step = whole.find("\"kind\":\"step\",\"step\":3");
  ASSERT_NE(last_step, std::string::npos);
  test::write_content(out + "/metrics.jsonl", whole.substr(0, last_step + 40));
  EXPECT_THAT(conclave("watch --once " + out).output, HasSubstr("step 2/6")) << "the last line is not finished";
}

TEST(Watching, RefusesWhatIsNoRun) {
  const TemporaryFolder folder;
  expect_refusal(conclave("watch --once " + folder.path("nowhere")), "there is no folder");
  expect_refusal(conclave("watch --once"), "watch of 0 runs");
  expect_refusal(conclave("watch --every 0 " + folder.path()), "every = 0");
  expect_refusal(conclave("report"), "report of what?");
  expect_refusal(conclave("report " + folder.path()), "neither the folder of a run");
  folder.write("run.h5", "no HDF5 file");
  expect_refusal(conclave("report " + folder.path()), "run.h5");
  EXPECT_FALSE(std::filesystem::exists("report.html"));
}

TEST(Watching, RefusesAPageThatCannotBeWritten) {
  const TemporaryFolder folder;
  const std::string out = folder.path("run");
  expect_success(conclave(small + "--stop-after 1 --out " + out));
  expect_refusal(conclave(fmt::format("report {} --out {}", out, folder.path("none/r.html"))), "none/");
  folder.write("file", "");
  expect_refusal(conclave(fmt::format("report {0} --out {1} --svg-folder {2}/sub", out, folder.path("r.html"),
                                      folder.path("file"))),
                 "svg_folder");
  expect_refusal(conclave(fmt::format("report {} --simulated {}", out, folder.path("file"))), "no JSON");
}

}  // namespace
}  // namespace conclave
