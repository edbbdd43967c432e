// SPDX-License-Identifier: BSD-3-Clause
// BLEU and ROUGE-L against the worked examples of the papers that define them, and against sums by hand.
#include "runtime/infer/text_scores.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace conclave::infer {
namespace {

ScoreTokens words(std::string_view text) { return score_tokens(text, ScoreUnit::words); }

std::vector<ScoreTokens> all_words(std::initializer_list<std::string_view> texts) {
  std::vector<ScoreTokens> result;
  for (const std::string_view text : texts) result.push_back(words(text));
  return result;
}

// Papineni et al. 2002, section 2.1, examples 1 and 2.
const std::vector<ScoreTokens> guide = all_words(
    {"It is a guide to action that ensures that the military will forever heed Party commands",
     "It is the guiding principle which guarantees the military forces always being under the command of the Party",
     "It is the practical guide for the army always to heed the directions of the party"});
const std::vector<ScoreTokens> cat = all_words({"the cat is on the mat", "there is a cat on the mat"});
constexpr std::string_view candidate_1 =
    "It is a guide to action which ensures that the military always obeys the commands of the party";
constexpr std::string_view candidate_2 =
    "It is to insure the troops forever hearing the activity guidebook that party direct";

void expect_matches(const NgramMatches& found, Index matched, Index total) {
  EXPECT_EQ(found.matched, matched);
  EXPECT_EQ(found.total, total);
}

TEST(Bleu, CountsAnNgramAsOftenAsOneReferenceHasIt) {
  expect_matches(ngram_matches(words("the the the the the the the"), cat, 1), 2, 7);
  expect_matches(ngram_matches(words("the the the the the the the"), cat, 2), 0, 6);
}

TEST(Bleu, HasTheModifiedPrecisionsOfThePaper) {
  expect_matches(ngram_matches(words(candidate_1), guide, 1), 17, 18);
  expect_matches(ngram_matches(words(candidate_1), guide, 2), 10, 17);
  expect_matches(ngram_matches(words(candidate_2), guide, 1), 8, 14);
  expect_matches(ngram_matches(words(candidate_2), guide, 2), 1, 13);
}

TEST(Bleu, IsTheGeometricMeanOfThePrecisionsTimesThePenalty) {
  // By hand: 5 of 5, 3 of 4, 2 of 3, 1 of 2, against a reference of 6.
  Bleu bleu;
  bleu.add(words("the cat is on mat"), all_words({"the cat is on the mat"}));
  const std::array<std::pair<Index, Index>, 4> by_hand{{{5, 5}, {3, 4}, {2, 3}, {1, 2}}};
  for (std::size_t i = 0; i < 4; ++i) expect_matches(bleu.matches()[i], by_hand[i].first, by_hand[i].second);
  EXPECT_DOUBLE_EQ(bleu.brevity_penalty(), std::exp(1.0 - 6.0 / 5.0));
  EXPECT_NEAR(bleu.score(), std::exp(-0.2) * std::pow(1.0 * 0.75 * (2.0 / 3.0) * 0.5, 0.25), 1e-15);
}

TEST(Bleu, AddsUpOverTextsBeforeItDivides) {
  Bleu bleu;
  bleu.add(words("a b c d"), all_words({"a b c d"}));
  bleu.add(words("e f x"), all_words({"e f g h i", "e f"}));
  expect_matches(bleu.matches()[0], 6, 7);
  expect_matches(bleu.matches()[1], 4, 5);
  expect_matches(bleu.matches()[2], 2, 3);
  expect_matches(bleu.matches()[3], 1, 1);
  EXPECT_EQ(bleu.brevity_penalty(), 1.0);  // 7 tokens against 4 + 2
  EXPECT_NEAR(bleu.score(), std::pow(6.0 / 7.0 * 4.0 / 5.0 * 2.0 / 3.0, 0.25), 1e-15);
}

TEST(Bleu, TakesTheNearestReferenceAndOfTwoTheShorter) {
  Bleu bleu;
  bleu.add(words("a b c d"), all_words({"a b c d e f", "a b"}));  // 2 away both
  EXPECT_EQ(bleu.brevity_penalty(), 1.0);
  Bleu longer;
  longer.add(words("a b c d"), all_words({"a", "a b c d e"}));
  EXPECT_DOUBLE_EQ(longer.brevity_penalty(), std::exp(1.0 - 5.0 / 4.0));
}

TEST(Bleu, HalvesOrdersWithoutAMatchOneAfterAnother) {
  Bleu bleu;  // 2 of 4, 0 of 3, 0 of 2, 0 of 1: these count as 1/2, 1/4, 1/8 matches
  bleu.add(words("a x b y"), all_words({"a p b q"}));
  EXPECT_NEAR(bleu.score(), std::pow(0.5 * (0.5 / 3.0) * (0.25 / 2.0) * (0.125 / 1.0), 0.25), 1e-15);
}

TEST(Bleu, IsOneForWhatIsRightAndZeroForWhatSharesNothing) {
  Bleu right, wrong, brief, none;
  right.add(words("a b c d e"), all_words({"a b c d e"}));
  wrong.add(words("v w x y z"), all_words({"a b c d e"}));
  brief.add(words("a b c"), all_words({"a b c"}));
  none.add({}, all_words({"a b c"}));
  EXPECT_DOUBLE_EQ(right.score(), 1.0);
  EXPECT_EQ(wrong.score(), 0.0);
  EXPECT_EQ(brief.score(), 0.0);  // no four tokens
  EXPECT_EQ(none.score(), 0.0);
}

// Lin 2004, section 3.1: S1 is the reference.
TEST(RougeL, HasTheScoresOfThePaper) {
  const std::vector<ScoreTokens> s1 = all_words({"police killed the gunman"});
  EXPECT_DOUBLE_EQ(rouge_l(words("police kill the gunman"), s1), 0.75);
  EXPECT_DOUBLE_EQ(rouge_l(words("the gunman kill police"), s1), 0.5);
  EXPECT_DOUBLE_EQ(rouge_l(words("the gunman police killed"), s1), 0.5);
}

TEST(RougeL, IsTheHarmonicMeanOfRecallAndPrecision) {
  // By hand: a c of "a b c", of "a x c y z": recall 2/3, precision 2/5.
  EXPECT_DOUBLE_EQ(rouge_l(words("a x c y z"), all_words({"a b c"})), 2.0 * (2.0 / 3.0) * 0.4 / (2.0 / 3.0 + 0.4));
  EXPECT_DOUBLE_EQ(rouge_l(words("a x c y z"), all_words({"q", "a x c y z", "a"})), 1.0);
  EXPECT_EQ(rouge_l(words("a b"), all_words({"c d"})), 0.0);
  EXPECT_EQ(rouge_l({}, all_words({"c d"})), 0.0);
}

TEST(RougeL, FindsALongestCommonSubsequenceFromEitherSide) {
  const ScoreTokens a = score_tokens("XMJYAUZ", ScoreUnit::bytes);
  const ScoreTokens b = score_tokens("MZJAWXU", ScoreUnit::bytes);
  EXPECT_EQ(longest_common_subsequence(a, b), 4);  // MJAU
  EXPECT_EQ(longest_common_subsequence(b, a), 4);
  EXPECT_EQ(longest_common_subsequence(a, {}), 0);
  EXPECT_EQ(longest_common_subsequence(a, score_tokens("ZUAYJM", ScoreUnit::bytes)), 1);  // all the other way round
}

TEST(ScoreTokens, AreWordsAndPunctuationOrBytes) {
  EXPECT_EQ(words("It's  30,5 \tna\xC3\xAFve_x.\r\n"),
            (ScoreTokens{"It", "'", "s", "30", ",", "5", "na\xC3\xAFve_x", "."}));
  EXPECT_EQ(words(" \n"), ScoreTokens{});
  EXPECT_EQ(score_tokens("a b", ScoreUnit::bytes), (ScoreTokens{"a", " ", "b"}));
}

}  // namespace
}  // namespace conclave::infer
