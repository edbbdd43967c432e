// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "comm/mpi/exchange.hpp"

namespace conclave::test {

/// One whole use of an inbox: what arrived when these rows were sent. Collective.
template <class T>
[[nodiscard]] Matrix<T> exchanged(comm::Inbox& inbox, const plan::ExchangeShape& shape, ConstMatrixView<T> rows) {
  inbox.open(shape, rows.cols * static_cast<Index>(sizeof(T)));
  inbox.write<T>(rows);
  inbox.start();
  inbox.wait();
  const MatrixView<T> arrived = inbox.arrived<T>();
  Matrix<T> copy(arrived.rows, rows.cols);
  std::copy_n(arrived.data, copy.size(), copy.data());
  return copy;
}

}  // namespace conclave::test
