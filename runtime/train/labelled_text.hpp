// SPDX-License-Identifier: BSD-3-Clause
// Texts with a class each, one label<TAB>text a line.
#pragma once

#include "runtime/train/labelled.hpp"
#include "runtime/train/mapped_file.hpp"
#include "runtime/train/sample_split.hpp"

namespace conclave::train {

/// The lines of a file. The label is what stands before the first tab, byte for byte; the text is the rest; a carriage
/// return at the end belongs to neither, and empty lines are skipped. Bytes are tokens. Texts longer than `context` are
/// cut; the tokens behind the end of a shorter one are the text again, from its beginning: they pass the routers and
/// take slots as any token, but no loss and no pooling looks at them. The file is mapped: a rank keeps 16 bytes a line.
class LabelledText final : public Samples {
 public:
  LabelledText(const DataOptions& options, Index context, Index seed, const Encoding* known);

  [[nodiscard]] model::DataShape shape() const override {
    return {.vocabulary = 256, .classes = static_cast<Index>(encoding_.classes.size())};
  }
  [[nodiscard]] Index tokens_in_sample() const override { return context_; }
  [[nodiscard]] Index num_sequences(Split split) const override { return split_->count(split); }
  void read_batch(Split split, Index first, Index count, Batch& batch) const override;
  [[nodiscard]] std::vector<std::string> class_names() const override { return encoding_.classes; }
  [[nodiscard]] std::string description() const override;
  [[nodiscard]] std::uint64_t fingerprint() const override;
  [[nodiscard]] const std::vector<std::string>& notices() const override { return notices_; }
  void store(CheckpointHeader& header) const override;

 private:
  struct Line {
    Index begin;        // of the text, in bytes of the file
    std::int32_t size;  // bytes, at most the context
    std::int32_t label;
  };
  /// A line as it stands in the file.
  struct Parts {
    std::string_view label;
    std::string_view text;
  };
  [[nodiscard]] Parts parts_of(std::string_view line, Index number) const;
  template <class Visit>
  void visit_lines(Visit&& visit) const;
  void find_classes();
  void find_lines();

  MappedFile file_;
  Index context_;
  Encoding encoding_;
  std::vector<Line> lines_;
  std::optional<SampleSplit> split_;
  std::vector<std::string> notices_;
};

}  // namespace conclave::train
