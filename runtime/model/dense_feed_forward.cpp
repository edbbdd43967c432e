// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/dense_feed_forward.hpp"

#include "runtime/core/parallel.hpp"

namespace conclave::model {

template <class T>
void DenseFeedForward<T>::forward(ParameterView<const T> values, const GroupRows& groups, ConstMatrixView<T> x,
                                  MatrixView<T> y) {
  const Index rows = groups.total_rows();
  const Index columns = function_.tape_columns();
  for (Matrix<T>* buffer : {&pre_, &hidden_, &d_pre_}) buffer->resize(rows, columns);
  if (has_gate()) {
    for (Matrix<T>* buffer : {&gate_, &d_gate_}) buffer->resize(rows, columns);
  }
  parallel_for(groups.num_groups, [&](Index i) {
    const Range group = groups.of(i);
    function_.forward({values}, x.row_block(group), tape(group), y.row_block(group));
  });
}

template <class T>
void DenseFeedForward<T>::backward(ParameterView<const T> values, Range group, ConstMatrixView<T> x,
                                   ConstMatrixView<T> dy, T beta, MatrixView<T> dx, ParameterView<T> leaf) {
  const experts::FeedForwardTape<T> d_tape{
      d_pre_.view().row_block(group), has_gate() ? d_gate_.view().row_block(group) : MatrixView<T>{}, {}};
  function_.backward_input({values}, tape(group), dy.row_block(group), d_tape, beta, dx.row_block(group));
  function_.backward_weights(x.row_block(group), tape(group), dy.row_block(group), d_tape, true, leaf);
}

template class DenseFeedForward<float>;
template class DenseFeedForward<double>;

}  // namespace conclave::model
