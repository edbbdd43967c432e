// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/sampler.hpp"

#include "runtime/core/error.hpp"

#include <cmath>

namespace conclave::train {
namespace {

// Four rounds make a Feistel network hard to tell from random; the halves of small sizes hold few bits, so twice that.
constexpr Index num_rounds = 8;

Index ceil_sqrt(Index x) {
  auto root = static_cast<Index>(std::sqrt(static_cast<double>(x)));
  // The rounded root may be off by one either way; division keeps the comparison free of overflow.
  while (root > 0 && root - 1 >= (x + root - 1) / root) --root;
  while (root == 0 || (x + root - 1) / root > root) ++root;
  return root;
}

}  // namespace

Permutation::Permutation(Index size, const Random& random)
    : size_(size), rows_(size < 1 ? 1 : ceil_sqrt(size)), columns_((size + rows_ - 1) / rows_), random_(random) {
  invariant(size >= 1, "a permutation of {} things", size);
}

// One pass over [0, rows * columns): each round shifts one half by an amount drawn from the other, so it has an
// inverse.
Index Permutation::shuffle_once(Index place) const {
  Index row = place / columns_;
  Index column = place % columns_;
  for (Index round = 0; round < num_rounds; ++round) {
    const bool shifts_row = round % 2 == 0;
    const auto words = random_.words(shifts_row ? column : row, round);
    const std::uint64_t drawn = std::uint64_t{words[0]} << 32 | words[1];
    Index& half = shifts_row ? row : column;
    const Index modulus = shifts_row ? rows_ : columns_;
    half = (half + static_cast<Index>(drawn % static_cast<std::uint64_t>(modulus))) % modulus;
  }
  return row * columns_ + column;
}

Index Permutation::operator()(Index place) const {
  invariant(0 <= place && place < size_, "place {} in a permutation of {}", place, size_);
  // The cycle through `place` comes back into [0, size) at the latest at `place` itself.
  do {
    place = shuffle_once(place);
  } while (place >= size_);
  return place;
}

Sampler::Sampler(Index num_items, Index seed) : num_items_(num_items), seed_(seed) {
  invariant(num_items >= 1, "a sampler over {} items", num_items);
}

Sampler::Draw Sampler::draw(Index n) const {
  invariant(n >= 0, "draw {} of a sampler", n);
  const Index epoch = n / num_items_;
  const Permutation order(num_items_, Random(seed_, RandomStream::data_order, epoch));
  return {epoch, order(n % num_items_)};
}

}  // namespace conclave::train
