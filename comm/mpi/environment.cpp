// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/environment.hpp"

#include <mpi.h>

#include <algorithm>
#include <cstdlib>
#include <exception>

namespace conclave::comm {

Environment::Session::Session(int& argc, char**& argv) : uncaught_at_start(std::uncaught_exceptions()) {
  int provided = MPI_THREAD_SINGLE;
  check_mpi(MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  // Errors of calls that name no communicator (datatypes, requests) are raised on MPI_COMM_WORLD.
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  if (provided < MPI_THREAD_FUNNELED) {
    throw MpiError(fmt::format("{} cannot run beside threads: thread level {} given, {} (MPI_THREAD_FUNNELED) needed",
                               mpi_library(), provided, MPI_THREAD_FUNNELED),
                   "use an MPI library that was built with thread support");
  }
}

Environment::Session::~Session() {
  if (std::uncaught_exceptions() <= uncaught_at_start) MPI_Finalize();
}

Environment::Environment(int& argc, char**& argv) : session_(argc, argv), world_(Communicator::world()) {}

Environment::~Environment() = default;

void Environment::abort(int exit_code) {
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::abort();  // MPI_Abort does not return, but is not declared so
}

std::string mpi_library() {
  std::string text(MPI_MAX_LIBRARY_VERSION_STRING, '\0');
  int length = 0;
  check_mpi(MPI_Get_library_version(text.data(), &length), "MPI_Get_library_version");
  text.resize(static_cast<std::size_t>(length));
  // The name and version come first; packager, build and commit follow after a comma or on further lines.
  text.resize(std::min(text.find_first_of(",\n"), text.size()));
  std::replace(text.begin(), text.end(), '\t', ' ');
  return text;
}

}  // namespace conclave::comm
