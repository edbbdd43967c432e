// SPDX-License-Identifier: BSD-3-Clause
// The bricks of hdf5.cpp: checked calls, types, shapes and selections. For files that include hdf5.h themselves.
#pragma once

#include "runtime/train/hdf5.hpp"

#include <hdf5.h>

#include <functional>

namespace conclave::train::detail {

static_assert(std::is_same_v<hid_t, std::int64_t>);

/// HDF5's account of its last failure, from the outermost call to the cause.
[[nodiscard]] std::string error_stack();

/// `code`, or InputError "cannot ACTION: reason" if it is negative.
template <class Code, class... Args>
Code check(Code code, fmt::format_string<Args...> action, Args&&... args) {
  if (code < 0) {
    const std::string reason = error_stack();
    throw InputError(fmt::format("cannot {}: {}", fmt::format(action, std::forward<Args>(args)...), reason));
  }
  return code;
}

/// T in memory, and as it is stored: little-endian, of the same size.
template <Hdf5Number T>
[[nodiscard]] hid_t memory_type() {
  if constexpr (std::same_as<T, float>) return H5T_NATIVE_FLOAT;
  if constexpr (std::same_as<T, double>) return H5T_NATIVE_DOUBLE;
  if constexpr (std::same_as<T, std::int32_t>) return H5T_NATIVE_INT32;
  if constexpr (std::same_as<T, std::int64_t>) return H5T_NATIVE_INT64;
  if constexpr (std::same_as<T, std::uint64_t>) return H5T_NATIVE_UINT64;
}
template <Hdf5Number T>
[[nodiscard]] hid_t stored_type() {
  if constexpr (std::same_as<T, float>) return H5T_IEEE_F32LE;
  if constexpr (std::same_as<T, double>) return H5T_IEEE_F64LE;
  if constexpr (std::same_as<T, std::int32_t>) return H5T_STD_I32LE;
  if constexpr (std::same_as<T, std::int64_t>) return H5T_STD_I64LE;
  if constexpr (std::same_as<T, std::uint64_t>) return H5T_STD_U64LE;
}
/// The type to store texts by: UTF-8, of the longest one's length. Variable length only where texts are too long for
/// that: it is stored apart, without a checksum, and HDF5 1.10 crashes when it is damaged.
[[nodiscard]] Hdf5Handle text_type(std::span<const std::string> texts);
/// The texts as `type` has them in memory; refers to them. InputError for a text that contains a zero byte.
[[nodiscard]] std::vector<char> text_memory(std::span<const std::string> texts, hid_t type, const std::string& what);
[[nodiscard]] Hdf5Type type_of(hid_t type);

/// InputError unless values of the type `stored` may be read as `memory` (see Hdf5File).
void require_fit(hid_t stored, hid_t memory, const std::string& what);

[[nodiscard]] Hdf5Handle make_space(const std::vector<Index>& shape);
[[nodiscard]] std::vector<Index> shape_of(hid_t space);

/// The texts of a dataset or an attribute of `file`; `read(memory type, transfer properties, buffer)` reads them.
/// InputError where they are longer together than the file, as those of a file that names one long text many times.
[[nodiscard]] std::vector<std::string> read_texts(hid_t file, hid_t type, hid_t space, const std::string& what,
                                                  const std::function<herr_t(hid_t, hid_t, void*)>& read);

/// Covers the positions `range` of a tensor with blocks that HDF5 can select, in order, and calls
/// transfer(space in memory, space in the file, values before this block) for each.
void for_each_block(hid_t file_space, Range range, const std::string& what,
                    const std::function<herr_t(hid_t, hid_t, Index)>& transfer);

}  // namespace conclave::train::detail
