// SPDX-License-Identifier: BSD-3-Clause
// A feed-forward function with replicated parameters, applied group by group: the dense blocks' feed-forward, and the
// shared experts of MoE layers.
#pragma once

#include "experts/feed_forward.hpp"
#include "runtime/model/layers.hpp"

namespace conclave::model {

template <class T>
class DenseFeedForward {
 public:
  DenseFeedForward(ParameterList& parameters, const std::string& prefix, const experts::ExpertShape& shape,
                   double output_scale)
      : function_(parameters, prefix, shape, output_scale) {}

  [[nodiscard]] Range parameters() const { return function_.parameters(); }

  /// y = f(x) for the rows of all groups, groups in parallel. Keeps activations: 2 (swiglu: 3) x hidden a token.
  void forward(ParameterView<const T> values, const GroupRows& groups, ConstMatrixView<T> x, MatrixView<T> y);

  /// The backward for one group's rows: dx = beta dx + gradient, and the parameters' gradient added to the group's
  /// leaf. To be called from GroupGradients::add, which runs groups in parallel.
  void backward(ParameterView<const T> values, Range group, ConstMatrixView<T> x, ConstMatrixView<T> dy, T beta,
                MatrixView<T> dx, ParameterView<T> leaf);

 private:
  [[nodiscard]] experts::FeedForwardTape<T> tape(Range rows) {
    return {pre_.view().row_block(rows), has_gate() ? gate_.view().row_block(rows) : MatrixView<T>{},
            hidden_.view().row_block(rows)};
  }
  [[nodiscard]] bool has_gate() const { return function_.has_gate(); }

  experts::FeedForward<T> function_;
  Matrix<T> pre_, gate_, hidden_;  // [rows, hidden]
  Matrix<T> d_pre_, d_gate_;       // [rows, hidden] scratch of backward
};

}  // namespace conclave::model
