// SPDX-License-Identifier: BSD-3-Clause
// To be preloaded: a process that stands still when it calls the MPI function that STOP_IN names, as a node does that
// hangs when all work is done.
#include <csignal>
#include <cstdlib>
#include <cstring>

namespace {

void stop_in(const char* function) {
  const char* where = std::getenv("STOP_IN");
  if (where != nullptr && std::strcmp(where, function) == 0) raise(SIGSTOP);
}

}  // namespace

// By MPI's profiling interface; a window's address is only handed on.
extern "C" {

int PMPI_Finalize();
int PMPI_Win_free(void* window);

int MPI_Finalize() {
  stop_in("MPI_Finalize");
  return PMPI_Finalize();
}

int MPI_Win_free(void* window) {
  stop_in("MPI_Win_free");
  return PMPI_Win_free(window);
}

}  // extern "C"
