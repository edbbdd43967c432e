// SPDX-License-Identifier: BSD-3-Clause
// Counter-based random numbers: a draw is a function of what it is for, never of who draws it or when.
// Philox4x32-10 (Salmon et al., SC 2011; Random123), key (seed, stream), counter (i, j, layer, step), each the low 32
// bits of what is counted.
#pragma once

#include "runtime/core/ids.hpp"

#include <array>
#include <cstdint>

namespace conclave {

/// What a draw is for. Numbers below 16 are fixed by the definition of the MoE layer; the rest are the program's own.
enum class RandomStream : std::uint32_t {
  jitter = 1,       // (token, feature)
  noise = 2,        // (token, expert)
  second = 3,       // (token, 0)
  random = 4,       // (token, try)
  bernoulli = 5,    // (token, expert)
  hash = 6,         // (token id, try), layer and step 0
  initial = 16,     // (element, parameter)
  data_order = 17,  // (position, round) of a permutation; layer = epoch
  corpus = 18,      // tables and bytes of the synthetic corpus
  generate = 19,    // (position, sample) of generated text
  priority = 20,    // (token, choice) order of serving claims
  gumbel = 21,      // (token, expert) sampled second choices
  upcycle = 22,     // (element, expert); layer = block, step = tensor of the expert
  resample = 23,    // (observation, resample) of a bootstrap
};

/// Seeds above this would be cut to 32 bits.
inline constexpr Index max_seed = (Index{1} << 32) - 1;

/// The draws of one stream at one layer and step.
class Random {
 public:
  Random(Index seed, RandomStream stream, Index layer = 0, Index step = 0)
      : key_{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(stream)},
        layer_(static_cast<std::uint32_t>(layer)),
        step_(static_cast<std::uint32_t>(step)) {}

  /// The four output words at counter (i, j, layer, step).
  [[nodiscard]] std::array<std::uint32_t, 4> words(Index i, Index j) const;
  /// R: 32 random bits.
  [[nodiscard]] std::uint32_t bits(Index i, Index j) const { return words(i, j)[0]; }
  /// U: uniform in (0, 1), (R + 1/2) / 2^32.
  [[nodiscard]] double uniform(Index i, Index j) const;
  /// N: standard normal by Box and Muller, from words 0 and 1.
  [[nodiscard]] double normal(Index i, Index j) const;

 private:
  std::array<std::uint32_t, 2> key_;
  std::uint32_t layer_;
  std::uint32_t step_;
};

}  // namespace conclave
