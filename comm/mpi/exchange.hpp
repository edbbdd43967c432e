// SPDX-License-Identifier: BSD-3-Clause
// Moving rows between ranks. An exchange knows rows and peers, no tokens and no experts; every strategy puts the same
// bytes in the same places.
#pragma once

#include "comm/mpi/communicator.hpp"
#include "comm/mpi/request.hpp"
#include "runtime/core/matrix.hpp"

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::comm {

/// One way of carrying out an all-to-all of rows.
class Exchange {
 public:
  virtual ~Exchange() = default;

  /// Starts moving rows as `shape` says: `send` holds shape.total_sent() rows of row_bytes each, `receive` gets
  /// shape.total_received(). Collective; both buffers belong to the exchange until the request has ended.
  virtual Request start(const plan::ExchangeShape& shape, const void* send, void* receive, Index row_bytes) const = 0;

  /// Moves the rows of `send` (contiguous, all columns) into `receive`, and waits.
  template <class T>
  void run(const plan::ExchangeShape& shape, std::type_identity_t<ConstMatrixView<T>> send,
           MatrixView<T> receive) const;
};

/// A member of the family: its name on the command line, one line of help, and how to make it.
struct ExchangeStrategy {
  std::string_view name;
  std::string_view help;
  std::unique_ptr<Exchange> (*make)(const Communicator& communicator);
};

/// All strategies; the first is the default.
[[nodiscard]] const std::vector<ExchangeStrategy>& exchange_strategies();

/// The strategy of that name. InputError naming the valid ones for any other name. Collective: strategies may set up
/// communicators of their own. `communicator` must outlive the exchange.
[[nodiscard]] std::unique_ptr<Exchange> make_exchange(std::string_view name, const Communicator& communicator);

template <class T>
void Exchange::run(const plan::ExchangeShape& shape, std::type_identity_t<ConstMatrixView<T>> send,
                   MatrixView<T> receive) const {
  invariant(send.rows == shape.total_sent() && receive.rows == shape.total_received() && send.cols == receive.cols,
            "an exchange of {} to {} rows given buffers of {} x {} and {} x {}", shape.total_sent(),
            shape.total_received(), send.rows, send.cols, receive.rows, receive.cols);
  start(shape, send.flat().data(), receive.flat().data(), send.cols * static_cast<Index>(sizeof(T))).wait();
}

}  // namespace conclave::comm
