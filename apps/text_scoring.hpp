// SPDX-License-Identifier: BSD-3-Clause
// How near what a model writes is to what it should have written.
#pragma once

#include "runtime/infer/generator.hpp"
#include "runtime/infer/text_scores.hpp"

#include <string>
#include <vector>

namespace conclave::apps {

/// A prompt, and what would be right behind it.
struct ReferenceText {
  std::string prompt;
  std::vector<std::string> references;  // at least one
};

/// A file of prompt<TAB>reference lines; further tabs separate further references. InputError, naming file and line,
/// for a line without a tab and for parts that are empty, and for a file without lines.
[[nodiscard]] std::vector<ReferenceText> read_references(const std::string& path);

/// Over texts that were written.
struct TextScores {
  Index texts = 0;
  Index exact = 0;  // equal to a reference, byte for byte
  infer::Bleu bleu{};
  double rouge_l = 0.0;  // mean
};
/// written: a text for each of `wanted`.
[[nodiscard]] TextScores scores_of(const std::vector<ReferenceText>& wanted, const std::vector<std::string>& written,
                                   infer::ScoreUnit unit);
/// The lines of `evaluate` on them.
[[nodiscard]] std::string scores_text(const TextScores& scores, infer::ScoreUnit unit);

}  // namespace conclave::apps
