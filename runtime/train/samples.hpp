// SPDX-License-Identifier: BSD-3-Clause
// What a model is trained on: samples, by number. Every rank reads those it needs; which sample a number stands for
// depends on the data, the options and the seed alone.
#pragma once

#include "runtime/train/batch.hpp"
#include "runtime/train/checkpoint_header.hpp"

#include <optional>
#include <string>
#include <vector>

namespace conclave::train {

/// The parts of the data; `all` is every sample in the order of the files.
enum class Split { train, validation, test, all };

inline constexpr std::array<EnumName<Split>, 4> enum_names(Split) {
  return {{{Split::train, "train"}, {Split::validation, "validation"}, {Split::test, "test"}, {Split::all, "all"}}};
}

/// A source of samples, each a sequence of tokens or a vector of features. Training samples come as an endless shuffled
/// stream, held-out ones in a fixed order; nothing held out is ever trained on. Immutable, safe to read from many
/// threads.
class Samples {
 public:
  virtual ~Samples() = default;

  /// What the data decides of a model.
  [[nodiscard]] virtual model::DataShape shape() const = 0;
  /// Tokens that a sample has in the model.
  [[nodiscard]] virtual Index tokens_in_sample() const = 0;
  /// Samples of an epoch of training, at least 1; or of another part, 0 where it is empty.
  [[nodiscard]] virtual Index num_sequences(Split split) const = 0;
  /// How many losses these samples have together, numbered as for read_batch: one a class, or one a token.
  [[nodiscard]] virtual Index num_targets(Split, Index /*first*/, Index count) const {
    return count * (shape().classes > 0 ? 1 : tokens_in_sample());
  }
  /// Fills `batch` with `count` samples, from number `first` on. Training: draws of the endless stream, numbered step *
  /// samples a step + place in the step; every epoch of num_sequences draws visits each sample once. Else
  /// first + count <= num_sequences.
  virtual void read_batch(Split split, Index first, Index count, Batch& batch) const = 0;

  /// The names of the classes, by number; empty where there are none.
  [[nodiscard]] virtual std::vector<std::string> class_names() const { return {}; }
  /// The least loss that any model can have on new samples [nats/token], where it is known.
  [[nodiscard]] virtual std::optional<double> entropy() const { return std::nullopt; }
  /// The names of the domains that samples come from, by their numbers; empty where none are known.
  [[nodiscard]] virtual std::vector<std::string> domain_names() const { return {}; }
  /// How many there are, and the domain of a sample, where they are known.
  [[nodiscard]] std::optional<Index> num_domains() const {
    const auto count = std::ssize(domain_names());
    return count == 0 ? std::nullopt : std::optional<Index>(count);
  }
  [[nodiscard]] virtual std::optional<Index> domain(Split, Index) const { return std::nullopt; }

  /// One line for the run's record.
  [[nodiscard]] virtual std::string description() const = 0;
  /// Equal for equal data, wherever it is stored: a run that is resumed on other data can tell.
  [[nodiscard]] virtual std::uint64_t fingerprint() const = 0;
  /// What was left out and why, a sentence each, for the user to see.
  [[nodiscard]] virtual const std::vector<std::string>& notices() const = 0;
  /// Adds to a checkpoint what a model trained on these samples needs to be used on others.
  virtual void store(CheckpointHeader&) const {}
};

}  // namespace conclave::train
