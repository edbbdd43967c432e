// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "comm/mpi/error.hpp"

#include <mpi.h>

#include <memory>
#include <utility>

namespace conclave::comm {

/// A non-blocking operation under way. Its buffers must outlive it. The destructor waits, so that a buffer is never
/// freed under a live transfer; errors are thrown by wait() and test() only.
class [[nodiscard]] Request {
 public:
  Request() = default;
  /// `keep_alive` owns what the library reads until the operation has ended (counts, a copy of the data).
  explicit Request(MPI_Request request, std::shared_ptr<const void> keep_alive = {})
      : request_(request), keep_alive_(std::move(keep_alive)) {}
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
  void end() noexcept;
  MPI_Request request_ = MPI_REQUEST_NULL;
  std::shared_ptr<const void> keep_alive_;
};

}  // namespace conclave::comm
