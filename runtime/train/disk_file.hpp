// SPDX-License-Identifier: BSD-3-Clause
// Files by the system's own calls, for what HDF5 leaves to it. No MPI and no HDF5: any thread may use one.
#pragma once

#include "runtime/core/function_ref.hpp"
#include "runtime/core/ids.hpp"

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace conclave::train {

/// An open file or folder. Every failure is an InputError with the path and the system's reason.
class DiskFile {
 public:
  enum class Access { read, read_write };
  /// Opens an existing one; folders can only be read.
  DiskFile(const std::filesystem::path& path, Access access);
  ~DiskFile();
  DiskFile(const DiskFile&) = delete;
  DiskFile& operator=(const DiskFile&) = delete;

  /// Returns when all that was written, by whichever process of this node, stands on the disk.
  void sync() const;
  /// Lets the disk begin with what has been written, so that sync has less to wait for. A wish.
  void start_sync() const;
  /// Asks the system to forget its copy in memory of what stands on the disk, so that reading means the disk; what
  /// is read through this object then is read ahead of time. A wish: file systems in memory have nothing else.
  void drop_cache() const;
  /// All of `bytes` at, or from, `offset` bytes after the beginning.
  void write_at(Index offset, std::span<const std::byte> bytes) const;
  void read_at(Index offset, std::span<std::byte> bytes) const;
  /// Whether the file's name still leads to this file.
  [[nodiscard]] bool is_in_place() const;

 private:
  void require(bool holds, const std::string& action) const;
  std::filesystem::path path_;
  int id_;
};

/// Lets the disk write while more is being written: start_sync every few megabytes.
class EarlySync {
 public:
  /// `file`, which must outlive it, may be open to be read only; who writes to it does not matter.
  explicit EarlySync(const DiskFile& file) : file_(file) {}
  void written(Index bytes);

 private:
  const DiskFile& file_;
  Index waiting_bytes_ = 0;
};

/// Creates a file of `bytes` with disk space of `room_bytes`, readable and writable as far as the user's umask allows.
/// What has that name already, a link that somebody put there included, is never followed or written to: InputError, as
/// if the disk is full.
void write_new_file(const std::filesystem::path& path, std::string_view bytes, Index room_bytes = 0);

/// Gives a name to a new file of `text`, in place of what had it before: at every instant it leads to one or the other.
/// A link of that name is replaced, not followed. InputError if that fails.
void replace_file(const std::filesystem::path& path, std::string_view text);
/// The same of a file that write(partial) makes under another name beside it.
void replace_file(const std::filesystem::path& path, FunctionRef<void(const std::filesystem::path& partial)> write);

}  // namespace conclave::train
