// SPDX-License-Identifier: BSD-3-Clause
// `generate`, and `evaluate` of what a model writes, as a user calls them.
#include "tests/apps/program.hpp"
#include "tests/apps/refusal.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

namespace conclave::test {
namespace {

using train::TemporaryFolder;

void expect_success(const Outcome& outcome) { ASSERT_EQ(outcome.exit_code, 0) << outcome.output; }

void expect_refusal(const Outcome& outcome, const std::string& part, const std::string& hint) {
  test::expect_refusal(outcome, part);
  EXPECT_THAT(outcome.output, testing::HasSubstr(hint));
}

// A text that a small model soon knows by heart.
std::string verse() {
  std::string text;
  for (Index i = 0; i < 60; ++i) text += "the cat sat on the mat, and the dog ran to the log.\n";
  return text;
}

/// A model that has learned the verse, trained once for all tests of this file.
class Generation : public testing::Test {
 protected:
  void SetUp() override {
    if (folder_ != nullptr) return;
    folder_ = new TemporaryFolder("_verse");
    folder_->write("verse.txt", verse());
    const Outcome trained = conclave(
        "train --threads 1 --layers 2 --width 32 --heads 2 --context 24 --experts 4 --expert-hidden 48 --steps 150 "
        "--sequences 16 --learning-rate 0.01 --eval-every 0 --data " +
        folder_->path("verse.txt") + " --out " + folder_->path("run"));
    ASSERT_EQ(trained.exit_code, 0) << trained.output;
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }
  static std::string generate(const std::string& options, Index threads = 1) {
    return fmt::format("generate --threads {} --checkpoint {} {}", threads, folder_->path("run"), options);
  }
  static std::string evaluate(const std::string& options) {
    return "evaluate --threads 1 --checkpoint " + folder_->path("run") + " " + options;
  }
  static TemporaryFolder* folder_;
};
TemporaryFolder* Generation::folder_ = nullptr;

TEST_F(Generation, WritesTheSameTextsOnAnyNumberOfRanks) {
  folder_->write("prompts.txt", "the cat\nand, \r\nthe dog ran to the log.the cat sat on the mat\n");
  for (const std::string& options :
       {std::string("--prompt 'the c' --tokens 40"), "--prompt-file " + folder_->path("prompts.txt") +
                                                         " --samples 3 --tokens 30 --top-k 9 --top-p 0.97 --batch 4"}) {
    const Outcome one = conclave(generate(options));
    expect_success(one);
    for (const Index ranks : {2, 3, 4, 6}) {
      const Outcome more = on_ranks(ranks, CONCLAVE_PROGRAM, generate(options));
      expect_success(more);
      EXPECT_EQ(without_speed(more.output), without_speed(one.output)) << ranks << " ranks";
    }
    EXPECT_EQ(without_speed(conclave(generate(options, 2)).output), without_speed(one.output));
  }
}

TEST_F(Generation, KnowsTheVerseWithAndWithoutCache) {
  const std::string options = "--prompt 'the cat ' --temperature 0 --tokens 70";
  const Outcome cached = conclave(generate(options));
  expect_success(cached);
  EXPECT_EQ(without_speed(cached.output),
            "the cat sat on the mat, and the dog ran to the log.\nthe cat sat on the mat, an\n");
  EXPECT_EQ(without_speed(conclave(generate(options + " --no-cache")).output), without_speed(cached.output));
}

TEST_F(Generation, TakesAPromptEachTimeItIsGiven) {
  const Outcome two = conclave(generate("--prompt 'mat, a' --prompt 'the dog ' --temperature 0 --tokens 4"));
  expect_success(two);
  EXPECT_EQ(without_speed(two.output), "== prompt 1, sample 1\nmat, and t\n== prompt 2, sample 1\nthe dog ran \n");
  EXPECT_EQ(count(two.output, "8 tokens of 2 texts in "), 1) << two.output;
  EXPECT_EQ(without_speed(conclave(generate("--prompt a --tokens 0")).output), "a\n");
}

TEST_F(Generation, RefusesWhatItCannotDo) {
  folder_->write("hole.txt", "one\n\ntwo\n");
  expect_refusal(conclave(generate("--prompt a --prompt-file " + folder_->path("hole.txt"))), "beside prompt",
                 "give one of the two");
  expect_refusal(on_ranks(2, CONCLAVE_PROGRAM, generate("--prompt-file " + folder_->path("hole.txt"))),
                 "hole.txt' line 2: the line is empty", "a line is a prompt");
  expect_refusal(conclave(generate("--prompt ''")), "the prompt is empty", "give at least one byte");
  expect_refusal(conclave(generate("--top-p 0")), "top_p = 0", "above 0");
  expect_refusal(conclave(generate("--samples 0")), "samples = 0", "give 1 or more");
  expect_refusal(conclave(generate("--batch 0")), "batch = 0", "give 1 or more");
}

TEST_F(Generation, IsComparedWithReferences) {
  folder_->write("references.tsv",
                 "the dog ran\tto the log.\t to the log.\nthe cat sat on the mat, and\t the cat ran\nthe cat\t sat\n");
  const std::string options = "--references " + folder_->path("references.tsv") + " --sequences 2";
  const Outcome one = conclave(evaluate(options));
  expect_success(one);
  EXPECT_EQ(count(one.output, "exact match  50.00 %, 1 of 2\n"), 1) << one.output;
  // " to the log." and " the dog ran to the log." against "the cat ran": 4 + 2 of 4 + 7 words; pairs 3 + 0 of 3 + 6.
  EXPECT_EQ(count(one.output, "of words: 54.5 / 33.3 / 28.6 / 20.0 %, brevity penalty 1.0000"), 1) << one.output;
  EXPECT_EQ(count(one.output, "ROUGE-L      "), 1) << one.output;
  EXPECT_EQ(without_speed(on_ranks(3, CONCLAVE_PROGRAM, evaluate(options)).output), without_speed(one.output));
  expect_refusal(conclave(evaluate("--references " + folder_->path("verse.txt"))), "verse.txt' line 1: there is no tab",
                 "source<TAB>target");
}

TEST_F(Generation, MeasuresAllOfAText) {
  folder_->write("other.txt", verse().substr(0, 24 * 20 + 1));
  const Outcome all = conclave(evaluate("--split all --data " + folder_->path("other.txt")));
  expect_success(all);
  EXPECT_EQ(count(all.output, "nats/token over 480 tokens"), 1) << all.output;
  EXPECT_EQ(count(all.output, " bits/byte"), 1) << all.output;
  expect_refusal(conclave(evaluate("--split test")), "split = test of text", "give validation or all");
}

}  // namespace
}  // namespace conclave::test
