// SPDX-License-Identifier: BSD-3-Clause
// To be preloaded: a process that stands still when it calls the MPI function that STOP_IN names, as a node does that
// hangs when all work is done.
#include <mpi.h>

#include <csignal>
#include <cstdlib>
#include <cstring>

namespace {

void stop_in(const char* function) {
  const char* where = std::getenv("STOP_IN");
  if (where != nullptr && std::strcmp(where, function) == 0) raise(SIGSTOP);
}

}  // namespace

extern "C" int MPI_Finalize() {
  stop_in("MPI_Finalize");
  return PMPI_Finalize();
}

extern "C" int MPI_Win_free(MPI_Win* window) {
  stop_in("MPI_Win_free");
  return PMPI_Win_free(window);
}
