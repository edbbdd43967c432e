// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "comm/mpi/communicator.hpp"

#include <string>

namespace conclave::comm {

/// MPI's life: initialised with the object, finalised with it, unless an exception is unwinding: then the destructor
/// leaves MPI alone, because finalising would wait for ranks that will never come.
class Environment {
 public:
  /// Asks for MPI_THREAD_FUNNELED (threads compute, the main thread communicates); MpiError if the library gives less.
  Environment(int& argc, char**& argv);
  ~Environment();
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  [[nodiscard]] const Communicator& world() const { return world_; }
  /// Ends every rank of the job with `exit_code`. To be called by a rank that fails alone.
  [[noreturn]] static void abort(int exit_code);

 private:
  struct Session {
    Session(int& argc, char**& argv);
    ~Session();
    int uncaught_at_start;
  };
  Session session_;
  Communicator world_;
};

/// The MPI library's own name and version in one line, e.g. "Open MPI v4.1.4".
[[nodiscard]] std::string mpi_library();

}  // namespace conclave::comm
