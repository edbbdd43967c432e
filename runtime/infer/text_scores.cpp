// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/infer/text_scores.hpp"

#include "runtime/core/at.hpp"

#include <algorithm>
#include <cmath>
#include <map>

namespace conclave::infer {
namespace {

using Ngrams = std::map<ScoreTokens, Index>;

Ngrams ngrams_of(const ScoreTokens& tokens, Index n) {
  Ngrams counts;
  for (Index i = 0; i + n <= std::ssize(tokens); ++i) {
    ++counts[ScoreTokens(tokens.begin() + i, tokens.begin() + i + n)];
  }
  return counts;
}

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

bool is_of_word(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 128 || c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

Index nearest_length(const ScoreTokens& text, std::span<const ScoreTokens> references) {
  const auto distance = [&](Index length) { return std::abs(length - std::ssize(text)); };
  Index nearest = std::ssize(references.front());
  for (const ScoreTokens& reference : references) {
    const Index length = std::ssize(reference);
    const bool is_nearer = distance(length) < distance(nearest);
    if (is_nearer || (distance(length) == distance(nearest) && length < nearest)) nearest = length;
  }
  return nearest;
}

double f_score(const ScoreTokens& text, const ScoreTokens& reference) {
  const Index common = longest_common_subsequence(text, reference);
  if (common == 0) return 0.0;
  constexpr double beta_squared = 1.0;
  const double recall = static_cast<double>(common) / static_cast<double>(reference.size());
  const double precision = static_cast<double>(common) / static_cast<double>(text.size());
  return (1.0 + beta_squared) * recall * precision / (recall + beta_squared * precision);
}

}  // namespace

ScoreTokens score_tokens(std::string_view text, ScoreUnit unit) {
  ScoreTokens tokens;
  bool in_word = false;
  for (const char c : text) {
    const bool of_word = unit == ScoreUnit::words && is_of_word(c);
    if (of_word && in_word) {
      tokens.back() += c;
    } else if (unit == ScoreUnit::bytes || !is_space(c)) {
      tokens.emplace_back(1, c);
    }
    in_word = of_word;
  }
  return tokens;
}

NgramMatches ngram_matches(const ScoreTokens& text, std::span<const ScoreTokens> references, Index n) {
  NgramMatches result;
  std::vector<Ngrams> of_references;
  for (const ScoreTokens& reference : references) of_references.push_back(ngrams_of(reference, n));
  for (const auto& [ngram, count] : ngrams_of(text, n)) {
    Index most = 0;
    for (const Ngrams& known : of_references) {
      const auto found = known.find(ngram);
      if (found != known.end()) most = std::max(most, found->second);
    }
    result.matched += std::min(count, most);
    result.total += count;
  }
  return result;
}

void Bleu::add(const ScoreTokens& text, std::span<const ScoreTokens> references) {
  for (Index n = 1; n <= longest; ++n) {
    const NgramMatches found = ngram_matches(text, references, n);
    matches_[at(n - 1)].matched += found.matched;
    matches_[at(n - 1)].total += found.total;
  }
  text_tokens_ += std::ssize(text);
  reference_tokens_ += nearest_length(text, references);
}

double Bleu::brevity_penalty() const {
  if (text_tokens_ > reference_tokens_) return 1.0;
  if (text_tokens_ == 0) return 0.0;
  return std::exp(1.0 - static_cast<double>(reference_tokens_) / static_cast<double>(text_tokens_));
}

double Bleu::score() const {
  const auto has_match = [](const NgramMatches& m) { return m.matched > 0; };
  if (std::ranges::none_of(matches_, has_match) || matches_.back().total == 0) return 0.0;
  double log_sum = 0.0;
  double smoothed = 1.0;
  for (const NgramMatches& m : matches_) {
    if (m.matched == 0) smoothed /= 2.0;
    log_sum += std::log((m.matched > 0 ? static_cast<double>(m.matched) : smoothed) / static_cast<double>(m.total));
  }
  return brevity_penalty() * std::exp(log_sum / static_cast<double>(longest));
}

Index longest_common_subsequence(const ScoreTokens& a, const ScoreTokens& b) {
  if (a.size() < b.size()) return longest_common_subsequence(b, a);
  std::vector<Index> row(b.size() + 1, 0);  // of the tokens of `a` so far and each beginning of b
  for (const ScoreTokens::value_type& token : a) {
    Index diagonal = 0;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const Index above = row[j + 1];
      row[j + 1] = token == b[j] ? diagonal + 1 : std::max(above, row[j]);
      diagonal = above;
    }
  }
  return row.back();
}

double rouge_l(const ScoreTokens& text, std::span<const ScoreTokens> references) {
  double best = 0.0;
  for (const ScoreTokens& reference : references) best = std::max(best, f_score(text, reference));
  return best;
}

}  // namespace conclave::infer
