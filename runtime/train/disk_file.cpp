// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/disk_file.hpp"

#include "runtime/core/error.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace conclave::train {

DiskFile::DiskFile(const std::filesystem::path& path, Access access)
    : path_(path), id_(::open(path.c_str(), (access == Access::read ? O_RDONLY : O_RDWR) | O_CLOEXEC)) {
  require(id_ >= 0, "open");
}

DiskFile::~DiskFile() {
  if (id_ >= 0) ::close(id_);
}

void DiskFile::require(bool holds, const std::string& action) const {
  if (holds) return;
  const std::string reason = std::generic_category().message(errno);
  throw InputError(fmt::format("cannot {} '{}': {}", action, path_.string(), reason));
}

// EINVAL: a kind of file that has nothing to bring anywhere.
void DiskFile::sync() const { require(::fsync(id_) == 0 || errno == EINVAL, "bring to the disk"); }

void DiskFile::drop_cache() const {
  static_cast<void>(::posix_fadvise(id_, 0, 0, POSIX_FADV_DONTNEED));
  static_cast<void>(::posix_fadvise(id_, 0, 0, POSIX_FADV_SEQUENTIAL));
}

void DiskFile::write_at(Index offset, std::span<const std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t done = ::pwrite(id_, bytes.data(), bytes.size(), offset);
    if (done < 0 && errno == EINTR) continue;
    require(done > 0, "write to");
    bytes = bytes.subspan(static_cast<std::size_t>(done));
    offset += done;
  }
}

void DiskFile::read_at(Index offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t done = ::pread(id_, bytes.data(), bytes.size(), offset);
    if (done < 0 && errno == EINTR) continue;
    if (done == 0) throw InputError(fmt::format("'{}' ends at byte {}, before its end", path_.string(), offset));
    require(done > 0, "read");
    bytes = bytes.subspan(static_cast<std::size_t>(done));
    offset += done;
  }
}

bool DiskFile::is_in_place() const {
  struct stat by_name {};
  struct stat by_id {};
  return ::stat(path_.c_str(), &by_name) == 0 && ::fstat(id_, &by_id) == 0 && by_name.st_dev == by_id.st_dev &&
         by_name.st_ino == by_id.st_ino;
}

}  // namespace conclave::train
