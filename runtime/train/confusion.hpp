// SPDX-License-Identifier: BSD-3-Clause
// How often samples of a class were taken for which, and what is said of classes by it.
#pragma once

#include "runtime/core/ids.hpp"

#include <span>
#include <vector>

namespace conclave::train {

/// Integer counts, so that they are the same however they are summed over ranks.
class Confusion {
 public:
  explicit Confusion(Index classes = 0);

  void add(Index true_class, Index predicted) { ++at(true_class, predicted); }
  [[nodiscard]] Index classes() const { return classes_; }
  /// [classes, classes]: a row for each true class, a column for each predicted one.
  [[nodiscard]] std::span<Index> counts() { return counts_; }
  [[nodiscard]] const std::vector<Index>& counts() const { return counts_; }
  [[nodiscard]] Index count(Index true_class, Index predicted) const {
    return counts_[static_cast<std::size_t>(true_class * classes_ + predicted)];
  }
  [[nodiscard]] Index samples() const;
  [[nodiscard]] Index samples_of(Index true_class) const;
  [[nodiscard]] Index predictions_of(Index predicted) const;

  /// Right ones among those taken for the class; 0 where there are none.
  [[nodiscard]] double precision(Index of_class) const;
  /// Right ones among those of the class; 0 where there are none.
  [[nodiscard]] double recall(Index of_class) const;
  /// 2 right / (samples + predictions): the harmonic mean of the two.
  [[nodiscard]] double f1(Index of_class) const;
  /// Whether there is a sample or a prediction of the class: without any its F1 is no number.
  [[nodiscard]] bool is_seen(Index of_class) const { return samples_of(of_class) + predictions_of(of_class) > 0; }
  [[nodiscard]] Index num_seen() const;
  /// The mean of the F1 over the classes that are seen; 0 without samples.
  [[nodiscard]] double macro_f1() const;
  /// The mean of the F1 over the samples, each that of its class; 0 without samples.
  [[nodiscard]] double weighted_f1() const;

 private:
  [[nodiscard]] Index& at(Index row, Index col) { return counts_[static_cast<std::size_t>(row * classes_ + col)]; }
  Index classes_;
  std::vector<Index> counts_;
};

}  // namespace conclave::train
