// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "runtime/core/at.hpp"

#include <vector>

namespace conclave::apps {

/// Of values that come one after another, some at even distances: all while they are few, then every second one, every
/// fourth, and so on, so that there are never more than `most`, which must be at least 2.
template <class T>
class EvenSample {
 public:
  explicit EvenSample(Index most) : most_(most) {}

  void add(T value) {
    if (count_++ % every_ != 0) return;
    if (std::ssize(values_) == most_) {
      Index kept = 1;  // the first stays where it is
      for (Index i = 2; i < most_; i += 2) values_[at(kept++)] = std::move(values_[at(i)]);
      values_.resize(at(kept));
      every_ *= 2;
      if ((count_ - 1) % every_ != 0) return;
    }
    values_.push_back(std::move(value));
  }
  void clear() {
    values_.clear();
    count_ = 0;
    every_ = 1;
  }

  [[nodiscard]] const std::vector<T>& values() const { return values_; }
  /// Of all that were added.
  [[nodiscard]] Index count() const { return count_; }

 private:
  Index most_;
  std::vector<T> values_;
  Index count_ = 0;
  Index every_ = 1;
};

}  // namespace conclave::apps
