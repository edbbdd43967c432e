// SPDX-License-Identifier: BSD-3-Clause
// What a model is trained on: sequences of tokens, by number. Every rank reads the sequences it needs; which bytes a
// number stands for depends on the data, the options and the seed alone.
#pragma once

#include "runtime/core/ids.hpp"
#include "runtime/core/options.hpp"
#include "runtime/train/corpus.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace conclave::train {

struct DataOptions {
  std::string data{};                // a text file or a folder of them; empty: the synthetic corpus
  double validation_fraction = 0.1;  // of text: the last part of its bytes; of the corpus: that part of its sequences
  CorpusOptions corpus{};
};

void describe(DataOptions& options, OptionTable& table);

enum class Split { train, validation };

/// A source of token sequences of context + 1 tokens: `context` inputs, each followed by its target. Training sequences
/// come as an endless shuffled stream, held-out ones in a fixed order; no held-out byte is ever trained on. Immutable,
/// safe to read from many threads.
class Dataset {
 public:
  virtual ~Dataset() = default;

  [[nodiscard]] virtual Index vocabulary() const = 0;
  /// Tokens of input in a sequence.
  [[nodiscard]] virtual Index context() const = 0;
  /// Sequences of an epoch of training, at least 1; or held-out sequences, 0 where nothing is held out.
  [[nodiscard]] virtual Index num_sequences(Split split) const = 0;
  /// Training: the n-th draw of the endless stream, n = step * sequences a step + place in the step; every epoch of
  /// num_sequences draws visits each sequence once. Validation: the n-th held-out sequence, n < num_sequences.
  /// tokens: [context + 1], in [0, vocabulary).
  virtual void read(Split split, Index n, std::span<std::int32_t> tokens) const = 0;

  /// The least loss that any model can have on new sequences [nats/token], where it is known.
  [[nodiscard]] virtual std::optional<double> entropy() const { return std::nullopt; }
  /// The names of the domains that sequences come from, by their numbers; empty where none are known.
  [[nodiscard]] virtual const std::vector<std::string>& domain_names() const;
  /// How many there are, and the domain of the sequence that read() gives, where they are known.
  [[nodiscard]] std::optional<Index> num_domains() const;
  [[nodiscard]] virtual std::optional<Index> domain(Split, Index) const { return std::nullopt; }

  /// One line for the run's record.
  [[nodiscard]] virtual std::string description() const = 0;
  /// Equal for equal data, wherever it is stored: a run that is resumed on other data can tell. Text is known by its
  /// files' sizes and a sample of their bytes.
  [[nodiscard]] virtual std::uint64_t fingerprint() const = 0;
  /// What was left out and why, a sentence each, for the user to see.
  [[nodiscard]] virtual const std::vector<std::string>& notices() const = 0;
};

/// The data that the options ask for, in sequences of context + 1 tokens. InputError for options out of range, for data
/// that cannot be read, and for data too small for one training sequence.
[[nodiscard]] std::unique_ptr<Dataset> make_dataset(const DataOptions& options, Index context, Index seed);

}  // namespace conclave::train
