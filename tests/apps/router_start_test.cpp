// SPDX-License-Identifier: BSD-3-Clause
// How a run comes by its router: presets, files of rules, what is said about them.
#include "tests/apps/program.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <fstream>

namespace conclave {
namespace {

using test::conclave;
using test::content_of;
using test::count;
using test::on_ranks;
using test::Outcome;
using train::TemporaryFolder;

const std::string small =
    "train --steps 4 --layers 2 --width 32 --heads 2 --context 12 --experts 4 --expert-hidden 32 --sequences 8 "
    "--groups 4 --checkpoint-every 2 --eval-every 4 ";

std::string digest_of(const std::string& checkpoint) {
  const Outcome outcome = conclave("inspect --digests --checkpoint " + checkpoint);
  const auto all = outcome.output.rfind("  all ");
  EXPECT_TRUE(outcome.exit_code == 0 && all != std::string::npos && all >= 16) << outcome.output;
  return outcome.exit_code == 0 ? outcome.output.substr(all - 16, 16) : outcome.output;
}

void expect_success(const Outcome& outcome) { ASSERT_EQ(outcome.exit_code, 0) << outcome.output; }

void expect_refusal(const Outcome& outcome, const std::string& part) {
  EXPECT_NE(outcome.exit_code, 0) << outcome.output;
  EXPECT_NE(outcome.exit_code, 124) << "it hung";
  EXPECT_EQ(count(outcome.output, part), 1) << outcome.output;
  EXPECT_EQ(count(outcome.output, "hint: "), 1) << outcome.output;
}

/// Three domains of text, of which the first two are trained on and the last two held out, and rules that send the
/// second to experts of its own.
class DomainFolder {
 public:
  DomainFolder() {
    folder_.write("data/prose/1.txt", train::random_text(4000, 1));
    folder_.write("data/verse.txt", train::random_text(4000, 2));
    folder_.write("data/witty", train::random_text(1000, 3));
    folder_.write("rules.txt", "# by domain\ndomain verse.txt -> 2, 3\n\ndomain prose, witty -> 0, 1   # the rest\n");
  }
  [[nodiscard]] std::string path(const std::string& name) const { return folder_.path(name); }
  void write(const std::string& name, const std::string& text) const { folder_.write(name, text); }
  [[nodiscard]] std::string by_rules(const std::string& rules = "rules.txt") const {
    return fmt::format("{} --router rule --capacity-factor 0 --validation-fraction 0.4 --data {} --rule-file {} ",
                       small, path("data"), path(rules));
  }

 private:
  TemporaryFolder folder_;
};

TEST(RuleFile, BecomesTheRunsOwnWithDomainsByNumber) {
  const DomainFolder folder;
  const Outcome one = conclave(folder.by_rules() + "--threads 1 --out " + folder.path("one"));
  expect_success(one);
  // A domain's tokens have experts of their own, so the expert tells the domain.
  EXPECT_EQ(count(one.output, "corrected for few tokens), by layer: 1.000 1.000"), 1) << one.output;
  const std::string config = content_of(folder.path("one/config.ini"));
  EXPECT_EQ(count(config, "\nrules = domain 1 -> 2,3; domain 0,2 -> 0,1\n"), 1) << config;
  EXPECT_EQ(count(config, "\nrule_file = \n"), 1) << config;

  const std::string digest = digest_of(folder.path("one"));
  expect_success(on_ranks(3, CONCLAVE_PROGRAM, folder.by_rules() + "--stop-after 2 --out " + folder.path("three")));
  std::filesystem::remove(folder.path("rules.txt"));
  expect_success(on_ranks(2, CONCLAVE_PROGRAM, "train --resume " + folder.path("three")));
  EXPECT_EQ(digest_of(folder.path("three")), digest);
  expect_success(
      conclave(fmt::format("train --config {} --out {}", folder.path("one/config.ini"), folder.path("again"))));
  EXPECT_EQ(digest_of(folder.path("again")), digest);
  expect_success(conclave("evaluate --sequences 8 --checkpoint " + folder.path("one")));

  // Text that is generated has no domain.
  expect_refusal(conclave("generate --tokens 2 --prompt a --checkpoint " + folder.path("one")),
                 "no rule fits token 97 of no known domain");
  expect_refusal(
      conclave(fmt::format("evaluate --checkpoint {} --data {}", folder.path("one"), folder.path("data/verse.txt"))),
      "a rule is for domain 2, but the data has 0 domains");
}

TEST(RuleFile, MayReplaceTheRulesOfARunThatGoesOn) {
  const DomainFolder folder;
  folder.write("other.txt", "default -> 3, 0\n");
  expect_success(conclave(folder.by_rules() + "--eval-sequences 8 --stop-after 2 --out " + folder.path("run")));
  // The first held-out sequences are all of one domain.
  const Outcome resumed =
      conclave(fmt::format("train --resume {} --rule-file {}", folder.path("run"), folder.path("other.txt")));
  expect_success(resumed);
  EXPECT_EQ(count(content_of(folder.path("run/config.ini")), "\nrules = default -> 3,0\n"), 1);
  EXPECT_EQ(count(resumed.output, "The held-out tokens are of one domain"), 1) << resumed.output;
}

TEST(RuleFile, IsRefusedByNameAndLineOnAllRanks) {
  const DomainFolder folder;
  folder.write("broken.txt", "default -> 0, 1\nclass digits -> 0, 1\n");
  expect_refusal(on_ranks(2, CONCLAVE_PROGRAM, folder.by_rules("broken.txt") + "--out " + folder.path("no")),
                 "broken.txt, line 2: there is no class 'digits'; did you mean digit?");
  folder.write("unknown.txt", "domain novel -> 0, 1\n");
  expect_refusal(on_ranks(3, CONCLAVE_PROGRAM, folder.by_rules("unknown.txt") + "--out " + folder.path("no")),
                 "unknown.txt, line 1: there is no domain 'novel'");
  expect_refusal(on_ranks(2, CONCLAVE_PROGRAM, folder.by_rules("missing.txt") + "--out " + folder.path("no")),
                 "cannot open");
  EXPECT_FALSE(std::filesystem::exists(folder.path("no")));
}

TEST(RuleFile, HasItsPlace) {
  const DomainFolder folder;
  const std::string out = "--out " + folder.path("no");
  expect_refusal(conclave(folder.by_rules() + "--rules 'default -> 0,1' " + out), "beside rules = default -> 0,1");
  expect_refusal(conclave(fmt::format("{} --rule-file {} {}", small, folder.path("rules.txt"), out)),
                 "with router = topk");
  expect_refusal(conclave(small + "--router rule --data " + folder.path("data/verse.txt") +
                          " --rules 'domain 0 -> 0,1; default -> 0,1' " + out),
                 "a rule is for domain 0, but the data has 0 domains");
  expect_refusal(conclave(small + "--router rule --data " + folder.path("data") +
                          " --rules 'domain 3 -> 0,1; default -> 0,1' " + out),
                 "a rule is for domain 3, but the data has 3 domains");
  EXPECT_FALSE(std::filesystem::exists(folder.path("no")));
}

TEST(RouterPreset, IsKeptWithItsValuesAndGivesWayToWhatIsGiven) {
  const TemporaryFolder folder;
  folder.write("mine.ini", "router_preset = switch\nc_balance = 0.2\njitter = 0.5\n");
  const Outcome outcome = conclave(
      fmt::format("{} --config {} --jitter 0.03 --out {}", small, folder.path("mine.ini"), folder.path("run")));
  expect_success(outcome);
  EXPECT_EQ(
      count(outcome.output, "routing as switch, but jitter = 0.03 (switch: 0.01), c_balance = 0.2 (switch: 0.01)"), 1)
      << outcome.output;
  const std::string config = content_of(folder.path("run/config.ini"));
  for (const std::string line : {"router_preset = switch", "top_k = 1", "capacity_formula = mesh", "jitter = 0.03",
                                 "c_balance = 0.2", "normalise = none", "c_z = 0"}) {
    EXPECT_EQ(count(config, "\n" + line + "\n"), 1) << line;
  }
  const std::string digest = digest_of(folder.path("run"));
  expect_success(
      conclave(fmt::format("train --config {} --out {}", folder.path("run/config.ini"), folder.path("again"))));
  EXPECT_EQ(digest_of(folder.path("again")), digest);
}

TEST(RouterPreset, IsTakenWhenARunBeginsOnly) {
  const TemporaryFolder folder;
  const std::string out = folder.path("run");
  expect_success(conclave(small + "--router-preset switch --capacity-factor 3 --stop-after 2 --out " + out));
  expect_refusal(on_ranks(2, CONCLAVE_PROGRAM, "train --router-preset gshard --resume " + out),
                 "router_preset = gshard with resume, where the run began with switch");
  const Outcome resumed = conclave("train --router-preset switch --resume " + out);
  expect_success(resumed);
  EXPECT_EQ(count(content_of(out + "/config.ini"), "\ncapacity_factor = 3\n"), 1) << "the preset is not taken again";
  expect_refusal(conclave(small + "--router-preset gshart --out " + folder.path("no")), "did you mean gshard?");
}

TEST(RouterPreset, IsTakenByBench) {
  const Outcome outcome = conclave("bench layer --router-preset switch --tokens 64 --width 16 --hidden 16 --repeats 1");
  expect_success(outcome);
  EXPECT_EQ(count(outcome.output, "top-1 of 16 experts"), 1) << outcome.output;
}

TEST(ExplainRouter, SaysTheSlotsOnceAndStops) {
  const TemporaryFolder folder;
  const std::string explain =
      small + "--router-preset st-moe --explain-router --data /no/such/file --out " + folder.path("no");
  const Outcome one = conclave(explain);
  expect_success(one);
  EXPECT_EQ(count(one.output, "training: cf = 1.25, C = 7,"), 1) << one.output;  // int(24 * 1.25 / 4)
  EXPECT_EQ(count(one.output, "Zoph et al. 2022"), 1) << one.output;
  EXPECT_EQ(count(one.output, "y = sum_j g_j f_j"), 1) << one.output;
  EXPECT_LE(count(one.output, "\n"), 60);
  EXPECT_EQ(on_ranks(3, CONCLAVE_PROGRAM, explain).output, one.output);
  EXPECT_FALSE(std::filesystem::exists(folder.path("no")));
  const Outcome bench =
      conclave("bench layer --explain-router --tokens 4000 --groups 4 --experts 64 --router-preset tutel");
  expect_success(bench);
  EXPECT_EQ(count(bench.output, "training: cf = 1, C = 32,"), 1) << bench.output;  // 2 int(ceil(1000 / 64))
  EXPECT_EQ(count(conclave(small + "--fusion max --explain-router").output, "element-wise maximum"), 1);
  const Outcome dense = conclave(small + "--moe-every 0 --explain-router");
  expect_success(dense);
  EXPECT_EQ(count(dense.output, "no MoE layer"), 1) << dense.output;
}

TEST(ExplainRouter, NamesGivenOptionsWithoutEffectAtTheStart) {
  const TemporaryFolder folder;
  const Outcome hash = conclave(small + "--router hash --normalise kept --c-z 0.5 --top-k 1 --c-balance 0.01 --out " +
                                folder.path("hash"));
  expect_success(hash);
  EXPECT_EQ(
      count(hash.output,
            "without effect here: --normalise (router = hash does without), --c-z (router = hash has no scores)\n"),
      1)
      << hash.output;
  EXPECT_EQ(count(hash.output, "--c-balance"), 0) << "it has its default value";
  EXPECT_EQ(count(hash.output, "a normalised gate is always 1"), 0) << hash.output;
  const Outcome plain = conclave(small + "--normalise kept --c-z 0.5 --out " + folder.path("plain"));
  expect_success(plain);
  EXPECT_EQ(count(plain.output, "without effect"), 0) << plain.output;
  const Outcome choice = conclave(small + "--router expert_choice --out " + folder.path("choice"));
  expect_success(choice);
  EXPECT_EQ(count(choice.output, "a causal language model sees its future"), 1) << choice.output;
  const Outcome top1 = conclave(small + "--top-k 1 --out " + folder.path("top1"));
  EXPECT_EQ(count(top1.output, "a normalised gate is always 1"), 1) << top1.output;
}

}  // namespace
}  // namespace conclave
