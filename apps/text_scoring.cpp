// SPDX-License-Identifier: BSD-3-Clause
#include "apps/text_scoring.hpp"

#include "runtime/core/at.hpp"
#include "runtime/train/mapped_file.hpp"
#include "runtime/train/text_lines.hpp"
#include "runtime/train/text_pairs.hpp"

#include <algorithm>

namespace conclave::apps {
namespace {

ReferenceText reference_of(const std::string& path, const train::TextLine& line) {
  const train::TextPair pair = train::pair_of(path, line.text, line.number);
  ReferenceText result{std::string(pair.source), {}};
  std::string_view rest = pair.target;
  for (std::size_t tab = 0; tab != std::string_view::npos;) {
    tab = rest.find('\t');
    const std::string_view reference = rest.substr(0, tab);
    if (reference.empty()) {
      throw InputError(
          fmt::format("'{}' line {}: reference {} is empty", path, line.number, result.references.size() + 1),
          "a line is prompt<TAB>reference, further references each behind a tab of its own");
    }
    result.references.emplace_back(reference);
    if (tab != std::string_view::npos) rest.remove_prefix(tab + 1);
  }
  return result;
}

std::string percent_of(const infer::NgramMatches& m) {
  return m.total == 0 ? "none"
                      : fmt::format("{:.1f}", 100.0 * static_cast<double>(m.matched) / static_cast<double>(m.total));
}

}  // namespace

std::vector<ReferenceText> read_references(const std::string& path) {
  const train::MappedFile file(path);
  std::vector<ReferenceText> result;
  train::for_each_line(file.bytes(), [&](const train::TextLine& line) { result.push_back(reference_of(path, line)); });
  if (result.empty()) {
    throw InputError(fmt::format("there is no line in '{}'", path), "a line is prompt<TAB>reference");
  }
  return result;
}

TextScores scores_of(const std::vector<ReferenceText>& wanted, const std::vector<std::string>& written,
                     infer::ScoreUnit unit) {
  invariant(wanted.size() == written.size(), "{} texts for {} prompts", written.size(), wanted.size());
  TextScores scores{.texts = std::ssize(wanted)};
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const infer::ScoreTokens text = infer::score_tokens(written[i], unit);
    std::vector<infer::ScoreTokens> references;
    for (const std::string& reference : wanted[i].references) {
      references.push_back(infer::score_tokens(reference, unit));
    }
    scores.exact += std::ranges::find(wanted[i].references, written[i]) != wanted[i].references.end() ? 1 : 0;
    scores.bleu.add(text, references);
    scores.rouge_l += infer::rouge_l(text, references) / static_cast<double>(wanted.size());
  }
  return scores;
}

std::string scores_text(const TextScores& s, infer::ScoreUnit unit) {
  const auto& matches = s.bleu.matches();
  std::string text = fmt::format("  exact match  {:.2f} %, {} of {}\n",
                                 100.0 * static_cast<double>(s.exact) / static_cast<double>(s.texts), s.exact, s.texts);
  text += fmt::format("  BLEU-4       {:.2f}, of {}: {} / {} / {} / {} %, brevity penalty {:.4f}\n",
                      100.0 * s.bleu.score(), name_of(unit), percent_of(matches[0]), percent_of(matches[1]),
                      percent_of(matches[2]), percent_of(matches[3]), s.bleu.brevity_penalty());
  return text + fmt::format("  ROUGE-L      {:.2f}, of {}: mean F with beta 1\n", 100.0 * s.rouge_l, name_of(unit));
}

}  // namespace conclave::apps
