// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/labelled_text.hpp"

#include "runtime/core/digest.hpp"
#include "runtime/train/text.hpp"
#include "runtime/train/text_lines.hpp"

#include <algorithm>
#include <set>

namespace conclave::train {
namespace {

constexpr const char* form = "a line is label<TAB>text; files of feature vectors end in .h5 or .hdf5";

}  // namespace

LabelledText::LabelledText(const DataOptions& options, Index context, Index seed, const Encoding* known)
    : file_(options.data), context_(context) {
  if (context < 1) throw InputError(fmt::format("texts with a context of {}", context), "the context is 1 or more");
  if (known != nullptr) {
    encoding_ = *known;
  } else {
    find_classes();
  }
  find_lines();
  split_.emplace(static_cast<Index>(lines_.size()), options, seed);
  if (known != nullptr) return;
  std::vector<Index> counts(encoding_.classes.size(), 0);
  const std::vector<char> in_training = split_->in_training();
  for (std::size_t i = 0; i < lines_.size(); ++i) {
    if (in_training[i] != 0) ++counts[static_cast<std::size_t>(lines_[i].label)];
  }
  notice_untrained(encoding_.classes, counts, notices_);
}

// Calls visit(line) for every line that is not empty.
template <class Visit>
void LabelledText::visit_lines(Visit&& visit) const {
  for_each_line(file_.bytes(), [&](const TextLine& line) {
    if (!line.text.empty()) visit(line);
  });
}

LabelledText::Parts LabelledText::parts_of(std::string_view line, Index number) const {
  const auto refuse = [&](const std::string& what) {
    throw InputError(fmt::format("'{}' line {}: {}", file_.path(), number, what), form);
  };
  const std::size_t tab = line.find('\t');
  if (tab == std::string_view::npos) refuse("there is no tab");
  const Parts parts{line.substr(0, tab), line.substr(tab + 1)};
  if (parts.label.empty()) refuse("the label is empty");
  if (parts.text.empty()) refuse(fmt::format("the text behind the label '{}' is empty", parts.label));
  if (parts.label.find('\0') != std::string_view::npos) refuse("the label has a zero byte");
  return parts;
}

void LabelledText::find_classes() {
  std::set<std::string, std::less<>> names;
  visit_lines([&](const TextLine& line) {
    const Parts parts = parts_of(line.text, line.number);
    if (names.contains(parts.label)) return;
    names.emplace(parts.label);
    if (std::ssize(names) <= max_classes) return;
    throw InputError(
        fmt::format("'{}' line {}: '{}' is the {}th label", file_.path(), line.number, parts.label, names.size()),
        fmt::format("there may be {} classes: is the label what stands before the first tab?", max_classes));
  });
  if (names.empty()) throw InputError(fmt::format("there is no line in '{}'", file_.path()), form);
  if (names.size() == 1) {
    throw InputError(fmt::format("every line of '{}' has the label '{}'", file_.path(), *names.begin()),
                     "a classifier needs two classes or more");
  }
  encoding_.classes.assign(names.begin(), names.end());
}

void LabelledText::find_lines() {
  const ClassNumbers numbers(encoding_.classes);
  Index num_cut = 0;
  visit_lines([&](const TextLine& line) {
    const Parts parts = parts_of(line.text, line.number);
    const std::int32_t label = numbers.find(parts.label);
    if (label < 0) {
      throw InputError(fmt::format("'{}' line {}: the label '{}' is unknown", file_.path(), line.number, parts.label),
                       fmt::format("the model's classes are {}", listed(encoding_.classes)));
    }
    const auto size = static_cast<Index>(parts.text.size());
    num_cut += size > context_ ? 1 : 0;
    lines_.push_back(
        {line.begin + std::ssize(line.text) - size, static_cast<std::int32_t>(std::min(size, context_)), label});
  });
  if (lines_.empty()) throw InputError(fmt::format("there is no line in '{}'", file_.path()), form);
  if (num_cut == 0) return;
  notices_.push_back(fmt::format("{} of {} texts are longer than the context of {} bytes: what is behind it is cut off",
                                 num_cut, lines_.size(), context_));
}

void LabelledText::read_batch(Split split, Index first, Index count, Batch& batch) const {
  batch.clear();
  for (Index i = 0; i < count; ++i) {
    const Line& line = lines_[static_cast<std::size_t>(split_->item(split, first + i))];
    const auto text = file_.bytes().subspan(static_cast<std::size_t>(line.begin), static_cast<std::size_t>(line.size));
    for (Index t = 0; t < context_; ++t) batch.tokens.push_back(text[static_cast<std::size_t>(t % line.size)]);
    batch.targets.push_back(line.label);
    batch.lengths.push_back(line.size);
  }
}

std::string LabelledText::description() const {
  Index bytes = 0;
  for (const Line& line : lines_) bytes += line.size;
  return fmt::format("texts: {} in {} classes, {}; {:.1f} of {} tokens a text count", lines_.size(),
                     encoding_.classes.size(), split_->text(),
                     static_cast<double>(bytes) / static_cast<double>(lines_.size()), context_);
}

std::uint64_t LabelledText::fingerprint() const {
  Digest digest;
  const std::array<Index, 3> sizes{split_->count(Split::train), split_->count(Split::validation),
                                   split_->count(Split::test)};
  digest.add("sizes", 0, std::span<const Index>(sizes));
  digest.add("texts", 0, file_.bytes());
  return digest.value();
}

void LabelledText::store(CheckpointHeader& header) const { train::store(encoding_, header); }

}  // namespace conclave::train
