// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/messages.hpp"

#include <exception>

namespace conclave::comm {

// A destructor must not throw: messages that fail here have nobody left who waits for them.
Messages::~Messages() {
  if (requests_.empty()) return;
  if (std::uncaught_exceptions() == 0) {
    MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE);
    return;
  }
  for (MPI_Request& request : requests_) {
    if (request == MPI_REQUEST_NULL) continue;
    MPI_Cancel(&request);
    MPI_Request_free(&request);
  }
}

void Messages::send(RankId to, const std::byte* rows, Index count, const RowType& type) {
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Isend(rows, checked_int(count, "rows to be sent"), type.handle(), static_cast<int>(to.value()), tag_,
                      communicator_.handle(), &request),
            "MPI_Isend");
  requests_.push_back(request);
}

void Messages::receive(RankId from, std::byte* rows, Index count, const RowType& type) {
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Irecv(rows, checked_int(count, "rows to be received"), type.handle(), static_cast<int>(from.value()),
                      tag_, communicator_.handle(), &request),
            "MPI_Irecv");
  requests_.push_back(request);
}

bool Messages::test() {
  if (requests_.empty()) return true;
  int ended = 0;
  check_mpi(MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &ended, MPI_STATUSES_IGNORE),
            "MPI_Testall");
  if (ended != 0) requests_.clear();
  return ended != 0;
}

void Messages::wait() {
  if (requests_.empty()) return;
  check_mpi(MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE), "MPI_Waitall");
  requests_.clear();
}

}  // namespace conclave::comm
