// SPDX-License-Identifier: BSD-3-Clause
// A file's bytes as memory, read from disk as they are touched and dropped again when memory is short: a corpus larger
// than memory costs none.
#pragma once

#include "runtime/core/ids.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <utility>

namespace conclave::train {

/// A regular file mapped for reading at random places; move-only, unmaps itself. An empty file maps to no bytes.
///
/// The size is taken once, when the file is opened. A file that grows afterwards is read up to that size. A file that
/// is cut shorter while it is mapped ends the program with a bus error at the first byte that is gone; so does a disk
/// that fails. Replace a file that is in use by renaming another over it: the mapping then keeps the old bytes.
class MappedFile {
 public:
  /// InputError, naming the path, if it is not a regular file or cannot be opened, measured or mapped.
  explicit MappedFile(std::string path);
  MappedFile(MappedFile&& other) noexcept { swap(other); }
  MappedFile& operator=(MappedFile&& other) noexcept {
    MappedFile(std::move(other)).swap(*this);
    return *this;
  }
  ~MappedFile();

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::span<const std::uint8_t> bytes() const { return bytes_; }
  /// (device, file number): equal for two names of one file.
  [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> identity() const { return identity_; }

 private:
  void swap(MappedFile& other) noexcept;

  std::string path_;
  std::span<const std::uint8_t> bytes_;
  std::pair<std::uint64_t, std::uint64_t> identity_{};
};

}  // namespace conclave::train
