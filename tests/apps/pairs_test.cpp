// SPDX-License-Identifier: BSD-3-Clause
// A language model that learns to answer: training on pairs, and what becomes of it.
#include "runtime/core/random.hpp"
#include "tests/apps/program.hpp"
#include "tests/apps/refusal.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <set>

namespace conclave::test {
namespace {

using train::TemporaryFolder;

constexpr Index alphabet = 12;

// A letter for each letter: a secret that the pairs alone tell.
char secret(char letter) { return "QZJXKVWYFPGB"[letter - 'a']; }

// `count` different words of 3 to 5 letters, and each behind its tab in secret letters.
std::string secret_pairs(Index count) {
  const Random random(7, RandomStream::generate);
  std::set<std::string> words;
  for (Index i = 0; std::ssize(words) < count; ++i) {
    std::string word;
    for (Index j = 0; j < 3 + static_cast<Index>(random.bits(i, 9) % 3); ++j) {
      word += static_cast<char>('a' + random.bits(i, j) % alphabet);
    }
    words.insert(word);
  }
  std::string lines;
  for (const std::string& word : words) {
    lines += word + '\t';
    for (const char letter : word) lines += secret(letter);
    lines += '\n';
  }
  return lines;
}

class Pairs : public testing::Test {
 protected:
  void SetUp() override { folder_.write("pairs.tsv", secret_pairs(4000)); }
  [[nodiscard]] std::string train(const std::string& options, const std::string& out) const {
    return "train --threads 1 --data-format pairs --data " + folder_.path("pairs.tsv") +
           " --layers 2 --width 64 --heads 4 --context 11 --experts 4 --expert-hidden 64 --sequences 64 --groups 8 "
           "--learning-rate 0.004 --eval-every 0 " +
           options + " --out " + folder_.path(out);
  }
  TemporaryFolder folder_{"_pairs"};
};

TEST_F(Pairs, HaveTheSameBitsOnAnyNumberOfRanks) {
  const Outcome one = conclave(train("--steps 8 --eval-sequences 20", "one"));
  ASSERT_EQ(one.exit_code, 0) << one.output;
  const std::string evaluate = "evaluate --threads 1 --sequences 30 --checkpoint " + folder_.path("one");
  const Outcome measured = conclave(evaluate);
  ASSERT_EQ(measured.exit_code, 0) << measured.output;
  EXPECT_EQ(count(measured.output, " of 330 tokens\n"), 1) << measured.output;
  for (const Index ranks : {2, 3, 4, 6}) {
    const std::string out = fmt::format("on_{}", ranks);
    const Outcome more = on_ranks(ranks, CONCLAVE_PROGRAM, train("--steps 8 --eval-sequences 20", out));
    ASSERT_EQ(more.exit_code, 0) << more.output;
    EXPECT_EQ(digest_of(folder_.path(out)), digest_of(folder_.path("one"))) << ranks << " ranks";
    EXPECT_EQ(without_speed(on_ranks(ranks, CONCLAVE_PROGRAM, evaluate).output), without_speed(measured.output));
  }
}

// Nothing but the table can be right: letters are paired at will, and words held out.
TEST_F(Pairs, TeachASecretTable) {
  const Outcome trained = conclave(train("--steps 700", "run"));
  ASSERT_EQ(trained.exit_code, 0) << trained.output;
  const Outcome measured = conclave("evaluate --checkpoint " + folder_.path("run"));
  ASSERT_EQ(measured.exit_code, 0) << measured.output;
  const auto at = measured.output.find("exact match  ");
  ASSERT_NE(at, std::string::npos) << measured.output;
  EXPECT_GT(std::stod(measured.output.substr(at + 13)), 99.0) << measured.output;
  EXPECT_EQ(count(measured.output, " of 400\n"), 1) << "a tenth is held out: " << measured.output;
  const Outcome written =
      conclave("generate --temperature 0 --prompt fade --prompt cab --checkpoint " + folder_.path("run"));
  EXPECT_EQ(without_speed(written.output), "fade\tVQXK\ncab\tJQZ\n");
}

TEST_F(Pairs, AreRefusedByFileAndLine) {
  folder_.write("pairs.tsv", "a\tb\nno tab\n");
  const Outcome outcome = on_ranks(2, CONCLAVE_PROGRAM, train("", "run"));
  expect_refusal(outcome, "pairs.tsv' line 2: there is no tab");
  expect_refusal(conclave("train --data-format pairs"), "data_format = pairs without data");
}

}  // namespace
}  // namespace conclave::test
