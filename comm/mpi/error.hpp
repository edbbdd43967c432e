// SPDX-License-Identifier: BSD-3-Clause
// Every MPI call is checked. Communicators return errors instead of aborting, so that the check can fire.
#pragma once

#include "runtime/core/error.hpp"
#include "runtime/core/ids.hpp"

#include <string_view>

namespace conclave::comm {

/// An error that the MPI library reported: the call's name and the library's text.
class MpiError : public Error {
 public:
  using Error::Error;
};

/// Throws MpiError if `code` (an MPI call's return value) is not MPI_SUCCESS. `call` is the call's name.
void check_mpi(int code, std::string_view call);

/// `count` as MPI's int. MpiError naming `what` if it does not fit; rows travel as one datatype each, so this takes
/// more than 2^31 rows on one rank.
[[nodiscard]] int checked_int(Index count, std::string_view what);

}  // namespace conclave::comm
