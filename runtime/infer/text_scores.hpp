// SPDX-License-Identifier: BSD-3-Clause
// How near texts are to references that people wrote: BLEU and ROUGE-L.
//
// BLEU-4 of a corpus (Papineni, Roukos, Ward, Zhu 2002, "BLEU: a method for automatic evaluation of machine
// translation"):
//
//   BLEU = BP exp(sum_{n=1..4} log p_n / 4),   BP = 1 if c > r, else exp(1 - r / c)
//   p_n  = (n-grams of all texts that their references have, each at most as often as in the one reference that has it
//          most often) / (n-grams of all texts)
//
// with c the tokens of all texts, and r the sum over texts of the length of the reference nearest in length, of two
// equally near ones the shorter. Smoothing is method 3 of Chen & Cherry 2014 ("A systematic comparison of smoothing
// techniques for sentence-level BLEU"), as in NIST's mteval: the k-th order without a match, from n = 1 on, counts as
// 1 / 2^k matches. BLEU is 0 where nothing matches at all, and where no text has four tokens.
//
// ROUGE-L of a text (Lin 2004, "ROUGE: a package for automatic evaluation of summaries", section 3.1):
//
//   R = LCS / reference's tokens,  P = LCS / text's tokens,  F = (1 + beta^2) R P / (R + beta^2 P),  beta = 1
//
// with LCS the tokens of a longest common subsequence; of several references the largest F. Of a corpus: the mean.
#pragma once

#include "runtime/core/ids.hpp"
#include "runtime/core/options.hpp"

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::infer {

/// What texts are cut into to be compared. words: runs of ASCII letters, digits, underscores and bytes from 128 on;
/// every other byte that is not white space is a token of its own; case counts. bytes: every byte, for writing without
/// spaces.
enum class ScoreUnit { words, bytes };
inline constexpr std::array<EnumName<ScoreUnit>, 2> enum_names(ScoreUnit) {
  return {{{ScoreUnit::words, "words"}, {ScoreUnit::bytes, "bytes"}}};
}

using ScoreTokens = std::vector<std::string>;
[[nodiscard]] ScoreTokens score_tokens(std::string_view text, ScoreUnit unit);

/// Matches among n-grams.
struct NgramMatches {
  Index matched = 0;
  Index total = 0;
};
/// p_n of one text, as a fraction. n >= 1.
[[nodiscard]] NgramMatches ngram_matches(const ScoreTokens& text, std::span<const ScoreTokens> references, Index n);

/// BLEU of the texts added so far.
class Bleu {
 public:
  static constexpr Index longest = 4;  // n-grams
  /// references: at least one.
  void add(const ScoreTokens& text, std::span<const ScoreTokens> references);
  /// 0 to 1.
  [[nodiscard]] double score() const;
  [[nodiscard]] double brevity_penalty() const;
  [[nodiscard]] const std::array<NgramMatches, longest>& matches() const { return matches_; }

 private:
  std::array<NgramMatches, longest> matches_{};
  Index text_tokens_ = 0;
  Index reference_tokens_ = 0;
};

/// Tokens of a longest common subsequence. Time and memory: the product and the smaller of the lengths.
[[nodiscard]] Index longest_common_subsequence(const ScoreTokens& a, const ScoreTokens& b);
/// F of one text, 0 to 1; references: at least one.
[[nodiscard]] double rouge_l(const ScoreTokens& text, std::span<const ScoreTokens> references);

}  // namespace conclave::infer
