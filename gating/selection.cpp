// SPDX-License-Identifier: BSD-3-Clause
#include "gating/selection.hpp"

#include "runtime/core/scratch.hpp"

#include <array>

namespace conclave::gating {
namespace {

// Writes the positions of the best.size() largest of `values` into `best`, largest first; of equals the lower position
// goes first, because a later one has to be strictly larger to move ahead. Positions in skipped blocks are passed over.
template <class T>
void largest(std::span<const T> values, Index block_size, std::span<const char> skipped, std::span<std::int32_t> best) {
  Index found = 0;
  const auto wanted = static_cast<Index>(best.size());
  for (Index e = 0; e < static_cast<Index>(values.size()); ++e) {
    if (!skipped.empty() && skipped[static_cast<std::size_t>(e / block_size)] != 0) continue;
    const T value = values[static_cast<std::size_t>(e)];
    if (found == wanted && !(value > values[static_cast<std::size_t>(best[static_cast<std::size_t>(wanted - 1)])])) {
      continue;
    }
    Index place = found < wanted ? found++ : wanted - 1;
    while (place > 0 && value > values[static_cast<std::size_t>(best[static_cast<std::size_t>(place - 1)])]) {
      best[static_cast<std::size_t>(place)] = best[static_cast<std::size_t>(place - 1)];
      --place;
    }
    best[static_cast<std::size_t>(place)] = static_cast<std::int32_t>(e);
  }
  invariant(found == wanted, "{} experts to choose {} from", found, wanted);
}

template <class T>
T block_score(std::span<const T> scores) {
  if (scores.size() == 1) return scores[0];
  std::array<std::int32_t, 2> best{};
  largest<T>(scores, 1, {}, best);
  return scores[static_cast<std::size_t>(best[0])] + scores[static_cast<std::size_t>(best[1])];
}

}  // namespace

template <class T>
void select_top_k(ConstMatrixView<T> score, Blocks blocks, MatrixView<std::int32_t> choices) {
  invariant(score.cols % blocks.count == 0, "{} experts in {} blocks", score.cols, blocks.count);
  const Index block_size = score.cols / blocks.count;
  const bool limited = blocks.kept < blocks.count;
  Scratch scratch;
  const std::span<T> block_scores = scratch.values<T>(limited ? blocks.count : 0);
  const std::span<std::int32_t> kept = scratch.values<std::int32_t>(limited ? blocks.kept : 0);
  const std::span<char> skipped = scratch.values<char>(limited ? blocks.count : 0);
  for (Index t = 0; t < score.rows; ++t) {
    const auto row = score.row(t);
    if (limited) {
      for (Index b = 0; b < blocks.count; ++b) {
        block_scores[static_cast<std::size_t>(b)] =
            block_score<T>(row.subspan(static_cast<std::size_t>(b * block_size), static_cast<std::size_t>(block_size)));
      }
      largest<T>(block_scores, 1, {}, kept);
      std::ranges::fill(skipped, char{1});
      for (const std::int32_t b : kept) skipped[static_cast<std::size_t>(b)] = 0;
    }
    largest<T>(row, block_size, skipped, choices.row(t));
  }
}

template void select_top_k(ConstMatrixView<float>, Blocks, MatrixView<std::int32_t>);
template void select_top_k(ConstMatrixView<double>, Blocks, MatrixView<std::int32_t>);

}  // namespace conclave::gating
