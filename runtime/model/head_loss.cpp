// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/head_loss.hpp"

#include "runtime/core/gemm.hpp"
#include "runtime/core/online_softmax.hpp"
#include "runtime/core/scratch.hpp"
#include "runtime/core/vector_kernels.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::model {
namespace {

// Computing logits twice costs a third more flops than a tall block's cache misses cost time: up to here one block.
constexpr Index largest_single_block = 8192;
constexpr Index block_words = 512;  // of larger vocabularies
constexpr Index block_logits = 128 * 1024;
constexpr Index fewest_rows = 64;  // for an efficient GEMM
constexpr Index most_rows = 256;

/// How a group's rows and the vocabulary are cut.
struct Cut {
  Index num_rows, vocabulary, rows_in_block, words_in_block;

  Cut(Index n, Index vocab)
      : num_rows(n),
        vocabulary(vocab),
        rows_in_block(std::clamp(block_logits / std::max<Index>(words_of(vocab), 1), fewest_rows, most_rows)),
        words_in_block(words_of(vocab)) {}
  [[nodiscard]] bool is_single() const { return words_in_block >= vocabulary; }

  /// Calls body(rows, words) for every block: all rows of the first words, then of the next, so that the head is
  /// walked once.
  template <class Body>
  void for_each(const Body& body) const {
    for (Index w = 0; w < vocabulary; w += words_in_block) {
      for (Index r = 0; r < num_rows; r += rows_in_block) {
        body(Range{r, std::min(num_rows, r + rows_in_block)}, Range{w, std::min(vocabulary, w + words_in_block)});
      }
    }
  }

 private:
  static Index words_of(Index vocab) { return vocab <= largest_single_block ? vocab : block_words; }
};

template <class T>
std::span<T> part(std::span<T> values, Range range) {
  return values.subspan(static_cast<std::size_t>(range.begin), static_cast<std::size_t>(range.size()));
}

template <class T>
void check(const HeadRows<T>& rows, std::span<const T> log_sums) {
  invariant(static_cast<Index>(rows.targets.size()) == rows.x.rows &&
                static_cast<Index>(log_sums.size()) == rows.x.rows && rows.x.cols == rows.weight.cols,
            "the loss of [{},{}] by a head [{},{}] with {} targets and {} sums", rows.x.rows, rows.x.cols,
            rows.weight.rows, rows.weight.cols, rows.targets.size(), log_sums.size());
  for (const std::int32_t target : rows.targets) {
    invariant(target == no_target || (0 <= target && target < rows.weight.rows), "target {} among {} words", target,
              rows.weight.rows);
  }
}

// The logits of a block.
template <class T>
MatrixView<T> logits_of(const HeadRows<T>& rows, Range block, Range words, Scratch& scratch) {
  constexpr Index padding = SoftmaxBlock<T>::row_padding;
  const Index padded = (words.size() + padding - 1) / padding * padding;
  const MatrixView<T> z = scratch.matrix<T>(block.size(), padded).col_block(0, words.size());
  gemm_nt<T>(rows.x.row_block(block), rows.weight.row_block(words), T{0}, z);
  return z;
}

// What the blocks of words so far have left of each row.  All [n].
template <class T>
struct RowStates {
  RowStates(Index n, Scratch& scratch)
      : maxima(scratch.values<T>(n)),
        sums(scratch.values<T>(n)),
        at_target(scratch.values<T>(n)),
        leads(scratch.values<char>(n)) {}
  std::span<T> maxima, sums, at_target;
  std::span<char> leads;  // whether the target's logit is above those before it and at least those of its block
};

// Takes the target's logit where it is in this block. Before the block's softmax: `state` holds the maxima before it.
template <class T>
void look_at_targets(const HeadRows<T>& rows, Range block, Range words, MatrixView<T> z, const RowStates<T>& state) {
  for (Index i = block.begin; i < block.end; ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (!words.contains(rows.targets[at])) continue;
    const std::span<const T> row = z.row(i - block.begin);
    const auto target = static_cast<std::size_t>(rows.targets[at] - words.begin);
    const T own = row[target];
    // The first of equal logits leads. Counted rather than looked for: without a branch compilers take whole vectors.
    std::int32_t ahead = words.begin > 0 && state.maxima[at] >= own ? 1 : 0;
    for (std::size_t j = 0; j < target; ++j) ahead += row[j] >= own ? 1 : 0;
    for (std::size_t j = target + 1; j < row.size(); ++j) ahead += row[j] > own ? 1 : 0;
    state.at_target[at] = own;
    state.leads[at] = ahead == 0 ? 1 : 0;
  }
}

// In place of the logits exp(z - maximum so far).
template <class T>
void add_block(Range block, Range words, MatrixView<T> z, const RowStates<T>& state) {
  const OnlineRows<T> online{part(state.maxima, block), part(state.sums, block)};
  const MatrixView<T> nothing{nullptr, block.size(), 0, 0};
  if (words.begin == 0) {
    softmax_first_block<T>({z, words.size()}, online);
  } else {
    softmax_next_block<T>({z, words.size()}, online, nothing);
  }
}

template <class T>
LossSums finish(const HeadRows<T>& rows, const RowStates<T>& state, std::span<T> log_sums) {
  const MatrixView<T> nothing{nullptr, static_cast<Index>(log_sums.size()), 0, 0};
  softmax_finish<T>({state.maxima, state.sums}, nothing, log_sums);
  LossSums loss;
  for (std::size_t i = 0; i < log_sums.size(); ++i) {
    if (rows.targets[i] == no_target) continue;
    loss.nats += static_cast<double>(log_sums[i]) - static_cast<double>(state.at_target[i]);
    loss.correct += state.leads[i] != 0 && state.maxima[i] <= state.at_target[i] ? 1 : 0;
  }
  return loss;
}

// z = x W^T, so dx = dz W and dW = dz^T x.  dz [rows of the block, words]
template <class T>
void block_gradients(const HeadRows<T>& rows, Range block, Range words, ConstMatrixView<T> dz,
                     const HeadGradients<T>& gradients) {
  if (gradients.x.rows > 0) {
    const T beta = words.begin == 0 ? T{0} : T{1};
    gemm_nn<T>(dz, rows.weight.row_block(words), beta, gradients.x.row_block(block));
  }
  if (gradients.weight.rows > 0) {
    gemm_tn<T>(dz, rows.x.row_block(block), T{1}, gradients.weight.row_block(words));
  }
}

}  // namespace

template <class T>
LossSums head_loss(const HeadRows<T>& rows, std::span<T> log_sums) {
  check<T>(rows, log_sums);
  Scratch scratch;
  const RowStates<T> state(rows.x.rows, scratch);
  Cut(rows.x.rows, rows.weight.rows).for_each([&](Range block, Range words) {
    Scratch of_block;
    const MatrixView<T> z = logits_of(rows, block, words, of_block);
    look_at_targets(rows, block, words, z, state);
    add_block(block, words, z, state);
  });
  return finish(rows, state, log_sums);
}

template <class T>
LossSums head_loss_and_gradients(const HeadRows<T>& rows, double scale, std::span<T> log_sums,
                                 const HeadGradients<T>& gradients) {
  const Cut cut(rows.x.rows, rows.weight.rows);
  if (!cut.is_single()) {
    const LossSums loss = head_loss(rows, log_sums);
    head_gradients<T>(rows, scale, log_sums, gradients);
    return loss;
  }
  check<T>(rows, log_sums);
  Scratch scratch;
  const RowStates<T> state(rows.x.rows, scratch);
  cut.for_each([&](Range block, Range words) {
    Scratch of_block;
    const MatrixView<T> z = logits_of(rows, block, words, of_block);
    look_at_targets(rows, block, words, z, state);
    add_block(block, words, z, state);
    for (Index i = block.begin; i < block.end; ++i) {  // dz = scale (exp(z - m) / s - onehot)
      const auto at = static_cast<std::size_t>(i);
      const std::span<T> dz = z.row(i - block.begin);
      if (rows.targets[at] == no_target) {
        std::ranges::fill(dz, T{0});
        continue;
      }
      scaled_copy<T>(static_cast<T>(scale) / state.sums[at], dz, dz);
      dz[static_cast<std::size_t>(rows.targets[at])] -= static_cast<T>(scale);
    }
    block_gradients<T>(rows, block, words, z, gradients);
  });
  return finish(rows, state, log_sums);
}

template <class T>
void head_gradients(const HeadRows<T>& rows, double scale, std::span<const T> log_sums,
                    const HeadGradients<T>& gradients) {
  check<T>(rows, log_sums);
  const T log_scale = static_cast<T>(std::log(scale));
  Cut(rows.x.rows, rows.weight.rows).for_each([&](Range block, Range words) {
    Scratch of_block;
    const MatrixView<T> z = logits_of(rows, block, words, of_block);
    for (Index i = block.begin; i < block.end; ++i) {  // dz = exp(z - log_sum + log scale) - scale onehot
      const auto at = static_cast<std::size_t>(i);
      const std::span<T> dz = z.row(i - block.begin);
      if (rows.targets[at] == no_target) {
        std::ranges::fill(dz, T{0});
        continue;
      }
      exp_shifted<T>(log_sums[at] - log_scale, dz);
      if (!words.contains(rows.targets[at])) continue;
      dz[static_cast<std::size_t>(rows.targets[at] - words.begin)] -= static_cast<T>(scale);
    }
    block_gradients<T>(rows, block, words, z, gradients);
  });
}

#define CONCLAVE_INSTANTIATE(T)                                                                                 \
  template LossSums head_loss(const HeadRows<T>&, std::span<T>);                                                \
  template LossSums head_loss_and_gradients(const HeadRows<T>&, double, std::span<T>, const HeadGradients<T>&); \
  template void head_gradients(const HeadRows<T>&, double, std::span<const T>, const HeadGradients<T>&)
CONCLAVE_INSTANTIATE(float);
CONCLAVE_INSTANTIATE(double);
#undef CONCLAVE_INSTANTIATE

}  // namespace conclave::model
