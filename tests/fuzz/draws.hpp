// SPDX-License-Identifier: BSD-3-Clause
// What a mutation is made of: numbers that depend on a seed and the mutation's number alone, so that it can be made
// again.
#pragma once

#include "runtime/core/random.hpp"

#include <span>
#include <string>

namespace conclave::fuzz {

class Draws {
 public:
  Draws(Index seed, Index number) : random_(seed, RandomStream::generate), number_(number) {}

  /// One of 0 … below - 1; below is at least 1.
  Index below(Index below) {
    const auto words = random_.words(next_++, number_);
    const std::uint64_t wide = (std::uint64_t{words[0]} << 32) | words[1];
    return static_cast<Index>(wide % static_cast<std::uint64_t>(below));
  }
  template <class T>
  const T& of(std::span<const T> choices) {
    return choices[static_cast<std::size_t>(below(std::ssize(choices)))];
  }
  bool one_in(Index n) { return below(n) == 0; }

 private:
  Random random_;
  Index number_;
  Index next_ = 0;
};

}  // namespace conclave::fuzz
