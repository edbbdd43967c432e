// SPDX-License-Identifier: BSD-3-Clause
// Pairs of texts, one source<TAB>target a line: a language model learns to go on with the target when it is given the
// source.
#pragma once

#include "runtime/train/dataset.hpp"
#include "runtime/train/mapped_file.hpp"
#include "runtime/train/sample_split.hpp"

namespace conclave::train {

/// What stands between a source and its target, and what ends the target: tokens as their bytes.
inline constexpr std::int32_t pair_separator = '\t';
inline constexpr std::int32_t pair_end = '\n';

/// A pair as it stands in a line: what is before the first tab, and what is behind it.
struct TextPair {
  std::string_view source;
  std::string_view target;
};
/// InputError, naming file and line, for a line that is empty, has no tab, or has nothing on one side of it.
[[nodiscard]] TextPair pair_of(const std::string& path, std::string_view line, Index number);

/// The lines of a file, each a sequence by itself: source, tab, target, line break. The target's tokens and the line
/// break are what is to be predicted; all other tokens have no target (model::no_target). Lines are never cut, nor is
/// one packed behind another, so a pair is learned as it will be asked for: from position 0 on. Behind its end a
/// sequence is filled with the same line again: attention never looks there from before it and no loss does, but those
/// tokens pass the routers and take slots as any token.
/// Bytes are tokens; a line has room for context + 1 of them, the tab and the line break among them. A permutation
/// drawn from the seed cuts the lines into a training and a validation part. The file is mapped: a rank keeps 16 bytes
/// a line.
class TextPairs final : public Dataset {
 public:
  /// InputError as pair_of, and for lines that are too long, options out of range and files that cannot be read.
  TextPairs(const DataOptions& options, Index context, Index seed);

  [[nodiscard]] Index vocabulary() const override { return 256; }
  [[nodiscard]] Index context() const override { return context_; }
  [[nodiscard]] Index num_sequences(Split split) const override { return split_->count(split); }
  [[nodiscard]] Index num_targets(Split split, Index first, Index count) const override;
  void read(Split split, Index n, std::span<std::int32_t> tokens) const override;
  void read_batch(Split split, Index first, Index count, Batch& batch) const override;
  [[nodiscard]] std::string description() const override;
  [[nodiscard]] std::uint64_t fingerprint() const override;
  [[nodiscard]] const std::vector<std::string>& notices() const override { return notices_; }

  /// The n-th pair of a part.
  [[nodiscard]] TextPair pair(Split split, Index n) const;

 private:
  struct Line {
    Index begin;          // in bytes of the file
    std::int32_t source;  // bytes
    std::int32_t target;
    /// Tokens, with the tab and the line break.
    [[nodiscard]] Index num_tokens() const { return Index{source} + 1 + target + 1; }
  };
  void find_lines();
  [[nodiscard]] const Line& line_of(Split split, Index n) const;

  MappedFile file_;
  Index context_;
  std::vector<Line> lines_;
  std::optional<SampleSplit> split_;
  std::vector<std::string> notices_;
};

}  // namespace conclave::train
