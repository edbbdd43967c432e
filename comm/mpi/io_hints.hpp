// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <mpi.h>

namespace conclave::comm {

/// What libraries that open files through MPI are given where nothing needs to be hinted.
[[nodiscard]] inline MPI_Info no_info() { return MPI_INFO_NULL; }

}  // namespace conclave::comm
