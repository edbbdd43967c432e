// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "comm/mpi/error.hpp"

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace conclave::comm {

/// The MPI datatype of an arithmetic type.
template <class T>
[[nodiscard]] MPI_Datatype mpi_type() {
  if constexpr (std::is_same_v<T, float>) {
    return MPI_FLOAT;
  } else if constexpr (std::is_same_v<T, double>) {
    return MPI_DOUBLE;
  } else if constexpr (std::is_same_v<T, std::int64_t>) {
    return MPI_INT64_T;
  } else if constexpr (std::is_same_v<T, std::uint64_t>) {
    return MPI_UINT64_T;
  } else if constexpr (std::is_same_v<T, std::int32_t>) {
    return MPI_INT32_T;
  } else if constexpr (std::is_same_v<T, char>) {
    return MPI_CHAR;
  } else {
    static_assert(std::is_same_v<T, std::byte>, "only arithmetic types and bytes travel");
    return MPI_BYTE;
  }
}

/// A datatype of `count` contiguous elements; committed, and freed with the object. Counts of rows stay small where
/// counts of elements would not fit MPI's int.
class RowType {
 public:
  RowType(Index count, MPI_Datatype element);
  ~RowType();
  RowType(const RowType&) = delete;
  RowType& operator=(const RowType&) = delete;
  [[nodiscard]] MPI_Datatype handle() const { return type_; }
  [[nodiscard]] Index count() const { return count_; }

 private:
  Index count_;
  MPI_Datatype type_ = MPI_DATATYPE_NULL;
};

}  // namespace conclave::comm
