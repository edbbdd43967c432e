// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/text_pairs.hpp"

#include "runtime/core/at.hpp"
#include "runtime/core/digest.hpp"
#include "runtime/train/text_lines.hpp"

#include <algorithm>
#include <array>

namespace conclave::train {
namespace {

constexpr const char* form = "a line is source<TAB>target, both of at least one byte";

// Pairs have a training and a validation part.
DataOptions without_test(DataOptions options) {
  options.test_fraction = 0.0;
  return options;
}

}  // namespace

TextPair pair_of(const std::string& path, std::string_view line, Index number) {
  const auto refuse = [&](const std::string& what) {
    throw InputError(fmt::format("'{}' line {}: {}", path, number, what), form);
  };
  if (line.empty()) refuse("the line is empty");
  const std::size_t tab = line.find(static_cast<char>(pair_separator));
  if (tab == std::string_view::npos) refuse("there is no tab");
  if (tab == 0) refuse("there is nothing before the tab");
  if (tab + 1 == line.size()) refuse("there is nothing behind the tab");
  return {line.substr(0, tab), line.substr(tab + 1)};
}

TextPairs::TextPairs(const DataOptions& options, Index context, Index seed) : file_(options.data), context_(context) {
  find_lines();
  split_.emplace(std::ssize(lines_), without_test(options), seed);
  if (options.validation_fraction > 0 && split_->count(Split::validation) == 0) {
    notices_.push_back(fmt::format("nothing is held out: {} of {} lines is less than one", options.validation_fraction,
                                   lines_.size()));
  }
}

void TextPairs::find_lines() {
  for_each_line(file_.bytes(), [&](const TextLine& line) {
    const TextPair pair = pair_of(file_.path(), line.text, line.number);
    if (std::ssize(line.text) > context_) {
      throw InputError(fmt::format("'{}' line {}: its {} bytes and their line break are more than the {} tokens that a "
                                   "context of {} has room for",
                                   file_.path(), line.number, line.text.size(), context_ + 1, context_),
                       fmt::format("give context = {} or more, or leave the line out", line.text.size()));
    }
    lines_.push_back(
        {line.begin, static_cast<std::int32_t>(pair.source.size()), static_cast<std::int32_t>(pair.target.size())});
  });
  if (lines_.empty()) throw InputError(fmt::format("there is no line in '{}'", file_.path()), form);
}

const TextPairs::Line& TextPairs::line_of(Split split, Index n) const { return lines_[at(split_->item(split, n))]; }

Index TextPairs::num_targets(Split split, Index first, Index count) const {
  Index targets = 0;
  for (Index n = first; n < first + count; ++n) targets += line_of(split, n).target + 1;
  return targets;
}

TextPair TextPairs::pair(Split split, Index n) const {
  const Line& of = line_of(split, n);
  const char* begin = reinterpret_cast<const char*>(file_.bytes().data()) + of.begin;
  return {{begin, at(of.source)}, {begin + of.source + 1, at(of.target)}};
}

void TextPairs::read(Split split, Index n, std::span<std::int32_t> tokens) const {
  invariant(std::ssize(tokens) == context_ + 1, "{} tokens for a context of {}", tokens.size(), context_);
  const Line& of = line_of(split, n);
  const auto bytes = file_.bytes().subspan(at(of.begin), at(of.num_tokens() - 1));
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::size_t place = i % at(of.num_tokens());
    tokens[i] = place < bytes.size() ? std::int32_t{bytes[place]} : pair_end;
  }
}

void TextPairs::read_batch(Split split, Index first, Index count, Batch& batch) const {
  Dataset::read_batch(split, first, count, batch);
  for (Index i = 0; i < count; ++i) {
    const Line& of = line_of(split, first + i);
    const std::span<std::int32_t> targets = std::span(batch.targets).subspan(at(i * context_), at(context_));
    std::ranges::fill(targets.first(at(of.source)), model::no_target);
    std::ranges::fill(targets.subspan(at(of.num_tokens() - 1)), model::no_target);
  }
}

std::string TextPairs::description() const {
  Index tokens = 0, targets = 0;
  for (const Line& of : lines_) {
    tokens += of.num_tokens() - 1;
    targets += of.target + 1;
  }
  const auto mean = [&](Index sum) { return static_cast<double>(sum) / static_cast<double>(lines_.size()); };
  return fmt::format(
      "pairs: {}, {} for training, {} for validation; {:.1f} of {} tokens a pair are its own, {:.1f} have "
      "a target",
      lines_.size(), split_->count(Split::train), split_->count(Split::validation), mean(tokens), context_,
      mean(targets));
}

std::uint64_t TextPairs::fingerprint() const {
  Digest digest;
  const std::array<Index, 2> sizes{split_->count(Split::train), split_->count(Split::validation)};
  digest.add("sizes", 0, std::span<const Index>(sizes));
  digest.add("pairs", 0, file_.bytes());
  return digest.value();
}

}  // namespace conclave::train
