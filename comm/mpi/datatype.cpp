// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/datatype.hpp"

namespace conclave::comm {

RowType::RowType(Index count, MPI_Datatype element) : count_(count) {
  check_mpi(MPI_Type_contiguous(checked_int(count, "elements of a row"), element, &type_), "MPI_Type_contiguous");
  if (const int code = MPI_Type_commit(&type_); code != MPI_SUCCESS) {
    MPI_Type_free(&type_);
    check_mpi(code, "MPI_Type_commit");
  }
}

RowType::~RowType() { MPI_Type_free(&type_); }

}  // namespace conclave::comm
