// SPDX-License-Identifier: BSD-3-Clause
// Which samples of a file are trained on, which are held out, and the order in which they come.
#pragma once

#include "runtime/train/dataset.hpp"
#include "runtime/train/sampler.hpp"

namespace conclave::train {

/// A permutation drawn from the seed cuts the samples of a file into three parts that have none in common. Immutable.
class SampleSplit {
 public:
  /// InputError for fractions outside [0, 1) or of 1 and more together.
  SampleSplit(Index num_samples, const DataOptions& options, Index seed);

  [[nodiscard]] Index count(Split split) const;
  /// The n-th sample of a part: for training the n-th draw of an endless stream, for `all` the n-th of the file.
  [[nodiscard]] Index item(Split split, Index n) const;
  /// [num_samples]: 1 where a sample is trained on.
  [[nodiscard]] std::vector<char> in_training() const;
  /// "80 for training, 10 for validation, 10 for testing"
  [[nodiscard]] std::string text() const;

 private:
  Index num_samples_;
  Index num_validation_;
  Index num_test_;
  Permutation order_;
  Sampler stream_;
};

}  // namespace conclave::train
