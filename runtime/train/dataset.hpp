// SPDX-License-Identifier: BSD-3-Clause
// What a language model is trained on: sequences of tokens, of text or of the synthetic corpus.
#pragma once

#include "runtime/core/ids.hpp"
#include "runtime/core/options.hpp"
#include "runtime/train/corpus.hpp"
#include "runtime/train/samples.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace conclave::train {

/// What a language model's data is: text to go on with, or pairs of texts (text_pairs.hpp).
enum class DataFormat { text, pairs };
inline constexpr std::array<EnumName<DataFormat>, 2> enum_names(DataFormat) {
  return {{{DataFormat::text, "text"}, {DataFormat::pairs, "pairs"}}};
}

struct DataOptions {
  std::string data{};  // a text file or a folder of them; empty: the synthetic corpus
  DataFormat data_format = DataFormat::text;
  double validation_fraction = 0.1;  // of text: the last part of its bytes; of the corpus: that part of its sequences
  double test_fraction = 0.1;        // of samples with a class, as validation_fraction: that part of a permutation
  bool standardise = true;           // feature vectors
  CorpusOptions corpus{};
};

void describe(DataOptions& options, OptionTable& table);

/// A source of token sequences of context + 1 tokens: `context` inputs, each followed by its target. No held-out byte
/// is ever trained on. The fingerprint knows text by its files' sizes and a sample of their bytes.
class Dataset : public Samples {
 public:
  [[nodiscard]] virtual Index vocabulary() const = 0;
  /// Tokens of input in a sequence.
  [[nodiscard]] virtual Index context() const = 0;
  /// Training: the n-th draw of the endless stream. Else: the n-th sequence of the part, n < num_sequences.
  /// tokens: [context + 1], in [0, vocabulary).
  virtual void read(Split split, Index n, std::span<std::int32_t> tokens) const = 0;

  [[nodiscard]] model::DataShape shape() const override { return {.vocabulary = vocabulary()}; }
  [[nodiscard]] Index tokens_in_sample() const override { return context(); }
  void read_batch(Split split, Index first, Index count, Batch& batch) const override;
};

/// The data that the options ask for, in sequences of context + 1 tokens. InputError for options out of range, for data
/// that cannot be read, and for data too small for one training sequence.
[[nodiscard]] std::unique_ptr<Dataset> make_dataset(const DataOptions& options, Index context, Index seed);

}  // namespace conclave::train
