// SPDX-License-Identifier: BSD-3-Clause
// What MPI offers by itself, for measurements to be held against. No result may come from here: MPI sums in whatever
// order it likes.
#pragma once

#include "comm/mpi/communicator.hpp"

#include <cstddef>

namespace conclave::comm {

/// MPI_Alltoallv of as many bytes from every rank to every rank, itself included: those for a peer follow those for the
/// peer before it. Collective.
void plain_all_to_all(const Communicator& communicator, std::span<const std::byte> sent, std::span<std::byte> received);

/// MPI_Allreduce, in place. Collective.
void plain_all_reduce(const Communicator& communicator, std::span<float> values);

}  // namespace conclave::comm
