// SPDX-License-Identifier: BSD-3-Clause
// The order in which training sequences are visited: a function of (seed, position) alone, computed without storage, so
// that any rank finds any sequence of any step, and a resumed run needs no state.
#pragma once

#include "runtime/core/ids.hpp"
#include "runtime/core/random.hpp"

namespace conclave::train {

/// A pseudo-random permutation of [0, size), in O(1) memory: a Feistel network on pairs (row, column) with rows *
/// columns just above size, and cycle walking back into [0, size) (Black and Rogaway, "Ciphers with Arbitrary Finite
/// Domains", CT-RSA 2002). Philox is the round function: the draws at (half, round) of `random`.
class Permutation {
 public:
  /// size >= 1.
  Permutation(Index size, const Random& random);
  /// Where `place` in [0, size) goes.
  [[nodiscard]] Index operator()(Index place) const;

 private:
  [[nodiscard]] Index shuffle_once(Index place) const;

  Index size_;
  Index rows_;
  Index columns_;
  Random random_;
};

/// An endless stream of draws from [0, num_items): every epoch visits each item once, each epoch in its own order.
class Sampler {
 public:
  struct Draw {
    Index epoch = 0;
    Index item = 0;  // in [0, num_items)
    friend constexpr bool operator==(const Draw&, const Draw&) = default;
  };

  /// num_items >= 1.
  Sampler(Index num_items, Index seed);
  /// The n-th draw, n >= 0: n = step * sequences a step + place in the step.
  [[nodiscard]] Draw draw(Index n) const;

 private:
  Index num_items_;
  Index seed_;
};

}  // namespace conclave::train
