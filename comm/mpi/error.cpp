// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/error.hpp"

#include <mpi.h>

#include <limits>

namespace conclave::comm {
namespace {

std::string text_of(int code) {
  std::string text(MPI_MAX_ERROR_STRING, '\0');
  int length = 0;
  if (MPI_Error_string(code, text.data(), &length) != MPI_SUCCESS) return "an error the library has no text for";
  text.resize(static_cast<std::size_t>(length));
  return text;
}

}  // namespace

void check_mpi(int code, std::string_view call) {
  if (code == MPI_SUCCESS) [[likely]] {
    return;
  }
  int error_class = code;
  MPI_Error_class(code, &error_class);
  throw MpiError(fmt::format("{} failed: {} (error class {})", call, text_of(code), error_class));
}

int checked_int(Index count, std::string_view what) {
  invariant(count >= 0, "{}: a count of {}", what, count);
  if (count > std::numeric_limits<int>::max()) {
    throw MpiError(fmt::format("{}: {} is more than MPI can count ({})", what, count, std::numeric_limits<int>::max()),
                   "use more ranks, so that each has less to send");
  }
  return static_cast<int>(count);
}

}  // namespace conclave::comm
