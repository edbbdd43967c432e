// SPDX-License-Identifier: BSD-3-Clause
// The experts that live on one rank: grouped forward and backward over whatever rows they were sent.
#pragma once

#include "experts/feed_forward.hpp"
#include "experts/row_cut.hpp"
#include "runtime/core/expert_map.hpp"
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
/// the global order of their tokens, wherever these came from. They are cut by RowCut: so every GEMM's shape depends on
/// the number of rows that the expert has on all of its hosts, not on ranks or threads. Of an expert with several hosts
/// each computes the rows of its segments, in the order of the hosts; the weights' gradient is summed at home. Where
/// the experts share a base, every shard has its values whole; its gradient is a sum over all experts of the layer,
/// whose terms the shards give one by one.
template <class T>
class ExpertShard {
 public:
  /// The experts `mine` of a layer whose expert e has shape shapes[e]; tensors are named
  /// "<prefix><four-digit global number>/w1" and so on. Experts with deltas share the tensors `base` and have one host
  /// each (InvariantError).
  ExpertShard(const std::vector<ExpertShape>& shapes, const std::vector<HostedExpert>& mine, const std::string& prefix,
              double output_scale, const ParameterList& base = {}, Index block_rows = default_block_rows);

  [[nodiscard]] Index num_experts() const { return static_cast<Index>(experts_.size()); }
  [[nodiscard]] ExpertId global(LocalExpertId expert) const { return at(expert).hosting.id; }
  [[nodiscard]] const ParameterList& parameters(LocalExpertId expert) const { return at(expert).list; }
  [[nodiscard]] std::span<T> values(LocalExpertId expert) { return at(expert).values.flat(); }
  /// Whether this rank owns the expert.
  [[nodiscard]] bool is_home(LocalExpertId expert) const { return at(expert).hosting.is_home(); }
  /// Empty but at home.
  [[nodiscard]] std::span<T> gradient(LocalExpertId expert) { return at(expert).gradient.flat(); }
  [[nodiscard]] const FeedForward<T>& function(LocalExpertId expert) const { return at(expert).function; }
  /// The values of the base, to be kept the same on all ranks; none where the experts share nothing.
  [[nodiscard]] std::span<T> base_values() { return base_.flat(); }

  /// Begins a step in which expert i gets rows_per_expert[i] rows, on all of its hosts together. What follows may take
  /// all experts at once or some after others (`experts`: a range of them, LocalExpertId), each once: bits do not
  /// depend on it. x, y, dy and dx are the rows of these experts here, [sum of their rows, width], those of an expert
  /// one after another, in order of i. `progress` is called by the calling thread between products.
  void begin(const std::vector<Index>& rows_per_expert);

  /// y = f_e(x). Keeps what backward needs; x must stay as it is until then. The last product writes straight to y
  /// where a block's rows follow one another there.
  void forward(
      Range experts, ConstMatrixView<T> x, const ScatteredRows<T>& y, FunctionRef<void()> progress = [] {});

  /// dx = d objective / d x.
  void backward_input(
      Range experts, ConstMatrixView<T> dy, const ScatteredRows<T>& dx, FunctionRef<void()> progress = [] {});
  /// After backward_input, of the same x and dy: the weights' gradients, added to those since clear_gradients(). Of an
  /// expert whose rows are shared out among hosts these are partial sums, and its gradient waits for add_partial_sums.
  void backward_weights(
      Range experts, ConstMatrixView<T> x, ConstMatrixView<T> dy, FunctionRef<void()> progress = [] {});
  /// The partial sums that the host `host` of expert `expert` has of the step, [sums, parameters]; no sums where one
  /// host computes all. At home there is room for those of all hosts; elsewhere the rank asks for its own.
  [[nodiscard]] MatrixView<T> partial_sums(LocalExpertId expert, Index host);
  /// At home, when all partial sums are there: what they come to is added to the gradient. Nothing where there are
  /// none.
  void add_partial_sums(LocalExpertId expert);
  /// After backward_input, of the same x and dy: base_gradient += the term of expert `local`, one of `experts`.
  void backward_base(Range experts, LocalExpertId local, ConstMatrixView<T> x, ConstMatrixView<T> dy,
                     ParameterView<T> base_gradient);

  /// The next step's backward sets the gradients instead of adding to them.
  void clear_gradients() {
    for (Expert& expert : experts_) expert.accumulate = false;
  }

 private:
  struct Expert {
    Expert(const HostedExpert& hosted, const ExpertShape& shape, const std::string& prefix, double output_scale)
        : hosting(hosted),
          function(list, prefix, shape, output_scale),
          values(1, list.size()),
          gradient(1, hosted.is_home() ? list.size() : 0) {}
    [[nodiscard]] bool is_shared_out() const { return hosting.num_hosts > 1 && cut.num_segments() > 1; }
    HostedExpert hosting;
    ParameterList list;
    FeedForward<T> function;
    Matrix<T> values;         // [1, list.size()]
    Matrix<T> gradient;       // [1, list.size()] at home
    Matrix<T> partial_sums;   // [sums, list.size()] host by host, where the rows are shared out
    std::vector<Range> sums;  // the segments of each
    RowCut cut;               // of this step, on all hosts
    Range segments;           // those of them that are computed here
    Range rows;               // theirs, numbered over all experts
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
  void plan_partial_sums(Expert& expert);
  void add_segment(Expert& expert, Index segment, ConstMatrixView<T> x, ConstMatrixView<T> dy, bool accumulate,
                   std::span<T> sum);
  void sum_segments(Expert& expert, Range segments, ConstMatrixView<T> x, ConstMatrixView<T> dy, std::span<T> sum);
  [[nodiscard]] FeedForwardTape<T> tape(const Expert& expert, Range rows);
  [[nodiscard]] FeedForwardTape<T> d_tape(const Expert& expert, Range rows);

  Index block_rows_;
  std::deque<Expert> experts_;     // a deque: descriptions point into their own list, so experts never move
  Matrix<T> base_;                 // [1, elements of the base]
  std::vector<Block> blocks_;      // of this step
  Matrix<T> pre_, gate_, hidden_;  // tapes of all experts, one after another
  Matrix<T> d_pre_, d_gate_;       // scratch of backward, laid out alike
  Matrix<T> low_, d_low_;          // tape and scratch of the deltas
};

}  // namespace conclave::experts
