// SPDX-License-Identifier: BSD-3-Clause
// The experts that live on one rank: grouped forward and backward over whatever rows they were sent.
#pragma once

#include "experts/feed_forward.hpp"
#include "runtime/core/function_ref.hpp"
#include "runtime/core/scattered_rows.hpp"

#include <deque>
#include <vector>

namespace conclave::experts {

/// Names and shapes of the tensors of expert `expert` of a layer whose experts have these shapes: "<prefix><four-digit
/// number>/w1" and so on.
[[nodiscard]] ParameterList expert_parameters(const std::vector<ExpertShape>& shapes, const std::string& prefix,
                                              ExpertId expert);

/// A shard of a layer's experts with their values and gradients. Rows come ordered by expert, and within an expert in
/// the global order of their tokens, wherever these came from. All of a step's rows of an expert are computed in the
/// fewest even blocks of at most block_rows, and its weights' gradient over all rows at once: so every GEMM's shape
/// depends on the expert's row count alone, not on ranks or threads. Where the experts share a base, every shard has
/// its values whole; its gradient is a sum over all experts of the layer, whose terms the shards give one by one.
template <class T>
class ExpertShard {
 public:
  /// The experts `mine` of a layer whose expert e has shape shapes[e]; tensors are named
  /// "<prefix><four-digit global number>/w1" and so on. Experts with deltas share the tensors `base`.
  ExpertShard(const std::vector<ExpertShape>& shapes, const std::vector<ExpertId>& mine, const std::string& prefix,
              double output_scale, const ParameterList& base = {});

  /// Large, because each call packs the weights anew; small enough that threads have blocks to share out.
  static constexpr Index block_rows = 768;

  [[nodiscard]] Index num_experts() const { return static_cast<Index>(experts_.size()); }
  [[nodiscard]] ExpertId global(LocalExpertId expert) const { return at(expert).id; }
  [[nodiscard]] const ParameterList& parameters(LocalExpertId expert) const { return at(expert).list; }
  [[nodiscard]] std::span<T> values(LocalExpertId expert) { return at(expert).values.flat(); }
  [[nodiscard]] std::span<T> gradient(LocalExpertId expert) { return at(expert).gradient.flat(); }
  [[nodiscard]] const FeedForward<T>& function(LocalExpertId expert) const { return at(expert).function; }
  /// The values of the base, to be kept the same on all ranks; none where the experts share nothing.
  [[nodiscard]] std::span<T> base_values() { return base_.flat(); }

  /// Begins a step in which expert i gets rows_per_expert[i] rows. What follows may take all experts at once or some
  /// after others (`experts`: a range of them, LocalExpertId), each once: bits do not depend on it. x, y, dy and dx are
  /// the rows of these experts, [sum of their rows, width], those of an expert one after another, in order of i.
  /// `progress` is called by the calling thread between products.
  void begin(const std::vector<Index>& rows_per_expert);

  /// y = f_e(x). Keeps what backward needs; x must stay as it is until then. The last product writes straight to y
  /// where a block's rows follow one another there.
  void forward(
      Range experts, ConstMatrixView<T> x, const ScatteredRows<T>& y, FunctionRef<void()> progress = [] {});

  /// dx = d objective / d x.
  void backward_input(
      Range experts, ConstMatrixView<T> dy, const ScatteredRows<T>& dx, FunctionRef<void()> progress = [] {});
  /// After backward_input, of the same x and dy: the weights' gradients, added to those since clear_gradients().
  void backward_weights(
      Range experts, ConstMatrixView<T> x, ConstMatrixView<T> dy, FunctionRef<void()> progress = [] {});
  /// After backward_input, of the same x and dy: base_gradient += the term of expert `local`, one of `experts`.
  void backward_base(Range experts, LocalExpertId local, ConstMatrixView<T> x, ConstMatrixView<T> dy,
                     ParameterView<T> base_gradient);

  /// The next step's backward sets the gradients instead of adding to them.
  void clear_gradients() {
    for (Expert& expert : experts_) expert.accumulate = false;
  }

 private:
  struct Expert {
    Expert(ExpertId number, const ExpertShape& shape, const std::string& prefix, double output_scale)
        : id(number), function(list, prefix, shape, output_scale), values(1, list.size()), gradient(1, list.size()) {}
    ExpertId id;
    ParameterList list;
    FeedForward<T> function;
    Matrix<T> values;         // [1, list.size()]
    Matrix<T> gradient;       // [1, list.size()]
    Range rows;               // of this step, numbered over all experts
    Index first_block = 0;    // of this step
    bool accumulate = false;  // its gradient is not clear
    Index tape_offset = 0;    // elements before this expert's in each tape buffer
    Index low_offset = 0;     // and in the tapes of the deltas
  };
  struct Block {  // one call's share: rows of one expert
    std::size_t expert;
    Range rows;
  };

  [[nodiscard]] Expert& at(LocalExpertId expert) { return experts_[static_cast<std::size_t>(expert.value())]; }
  [[nodiscard]] const Expert& at(LocalExpertId expert) const {
    return experts_[static_cast<std::size_t>(expert.value())];
  }
  // Places of the first row and block of the experts from `expert` on; those of all where there is none.
  [[nodiscard]] Index first_row(Index expert) const;
  [[nodiscard]] Range blocks_of(Range experts) const;
  // The rows `rows`, numbered over all experts, of the view that begins with those of the first of `experts`.
  [[nodiscard]] Range within(Range experts, Range rows) const {
    return {rows.begin - first_row(experts.begin), rows.end - first_row(experts.begin)};
  }
  [[nodiscard]] ExpertValues<T> values_of(const Expert& expert) const {
    return {ParameterView<const T>(expert.values.flat()), ParameterView<const T>(base_.flat())};
  }
  [[nodiscard]] FeedForwardTape<T> tape(const Expert& expert, Range rows);
  [[nodiscard]] FeedForwardTape<T> d_tape(const Expert& expert, Range rows);

  std::deque<Expert> experts_;     // a deque: descriptions point into their own list, so experts never move
  Matrix<T> base_;                 // [1, elements of the base]
  std::vector<Block> blocks_;      // of this step
  Matrix<T> pre_, gate_, hidden_;  // tapes of all experts, one after another
  Matrix<T> d_pre_, d_gate_;       // scratch of backward, laid out alike
  Matrix<T> low_, d_low_;          // tape and scratch of the deltas
};

}  // namespace conclave::experts
