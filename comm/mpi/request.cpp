// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/request.hpp"

#include <utility>

namespace conclave::comm {

Request::Request(Request&& other) noexcept
    : request_(std::exchange(other.request_, MPI_REQUEST_NULL)), keep_alive_(std::move(other.keep_alive_)) {}

Request& Request::operator=(Request&& other) noexcept {
  if (this == &other) return *this;
  end();
  request_ = std::exchange(other.request_, MPI_REQUEST_NULL);
  keep_alive_ = std::move(other.keep_alive_);
  return *this;
}

Request::~Request() { end(); }

void Request::wait() {
  check_mpi(MPI_Wait(&request_, MPI_STATUS_IGNORE), "MPI_Wait");
  keep_alive_.reset();
}

bool Request::test() {
  int ended = 0;
  check_mpi(MPI_Test(&request_, &ended, MPI_STATUS_IGNORE), "MPI_Test");
  if (ended != 0) keep_alive_.reset();
  return ended != 0;
}

// A destructor must not throw: an operation that fails here has nobody left who waits for its result.
void Request::end() noexcept {
  if (request_ != MPI_REQUEST_NULL) MPI_Wait(&request_, MPI_STATUS_IGNORE);
  keep_alive_.reset();
}

}  // namespace conclave::comm
