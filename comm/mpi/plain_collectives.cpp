// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/plain_collectives.hpp"

namespace conclave::comm {

void plain_all_to_all(const Communicator& communicator, std::span<const std::byte> sent,
                      std::span<std::byte> received) {
  const Index num_ranks = communicator.size();
  const Index bytes = std::ssize(sent) / num_ranks;  // for each peer
  invariant(bytes * num_ranks == std::ssize(sent) && sent.size() == received.size(),
            "{} bytes sent and {} received between {} ranks", sent.size(), received.size(), num_ranks);
  const std::vector<int> counts(static_cast<std::size_t>(num_ranks), checked_int(bytes, "bytes to a rank"));
  std::vector<int> displacements;
  for (Index peer = 0; peer < num_ranks; ++peer) {
    displacements.push_back(checked_int(peer * bytes, "bytes to all ranks"));
  }
  check_mpi(MPI_Alltoallv(sent.data(), counts.data(), displacements.data(), MPI_BYTE, received.data(), counts.data(),
                          displacements.data(), MPI_BYTE, communicator.handle()),
            "MPI_Alltoallv");
}

void plain_all_reduce(const Communicator& communicator, std::span<float> values) {
  const int count = checked_int(std::ssize(values), "values to be summed");
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, values.data(), count, MPI_FLOAT, MPI_SUM, communicator.handle()),
            "MPI_Allreduce");
}

}  // namespace conclave::comm
