// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "comm/mpi/error.hpp"

#include <mpi.h>

namespace conclave::comm {

/// A non-blocking operation under way. Its buffers must outlive it. The destructor waits, so that a buffer is never freed
/// under a live transfer; errors are thrown by wait() and test() only.
class [[nodiscard]] Request {
 public:
  Request() = default;
  explicit Request(MPI_Request request) : request_(request) {}
  Request(Request&& other) noexcept;
  Request& operator=(Request&& other) noexcept;
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;
  ~Request();

  /// Blocks until the operation has ended. No-op for an ended or empty request.
  void wait();
  /// Whether the operation has ended; makes progress.
  [[nodiscard]] bool test();

 private:
  MPI_Request request_ = MPI_REQUEST_NULL;
};

}  // namespace conclave::comm
