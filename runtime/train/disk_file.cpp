// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/disk_file.hpp"

#include "runtime/core/error.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <iterator>
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

void DiskFile::start_sync() const {
#ifdef SYNC_FILE_RANGE_WRITE
  static_cast<void>(::sync_file_range(id_, 0, 0, SYNC_FILE_RANGE_WRITE));
#endif
}

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

void EarlySync::written(Index bytes) {
  constexpr Index enough_bytes = Index{8} << 20;
  waiting_bytes_ += bytes;
  if (waiting_bytes_ < enough_bytes) return;
  file_.start_sync();
  waiting_bytes_ = 0;
}

namespace {

struct OpenFile {
  int id;
  ~OpenFile() {
    if (id >= 0) ::close(id);
  }
};

}  // namespace

void write_new_file(const std::filesystem::path& path, std::string_view bytes, Index room_bytes) {
  const auto require = [&](bool holds, const std::string& action) {
    if (holds) return;
    const std::string reason = std::generic_category().message(errno);
    throw InputError(fmt::format("cannot {} '{}': {}", action, path.string(), reason));
  };
  const OpenFile file{::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666)};
  require(file.id >= 0, "create");
  const bool is_reserved = room_bytes == 0 || ::fallocate(file.id, 0, 0, room_bytes) == 0;
  // Not every file system can be asked for space; then a full disk is met later.
  require(is_reserved || errno == EOPNOTSUPP || errno == ENOSYS,
          fmt::format("take {:.1f} MiB of space for", static_cast<double>(room_bytes) / (1 << 20)));
  require(::write(file.id, bytes.data(), bytes.size()) == std::ssize(bytes), "write to");
}

void replace_file(const std::filesystem::path& path, std::string_view text) {
  replace_file(path, [&](const std::filesystem::path& partial) { write_new_file(partial, text); });
}

void replace_file(const std::filesystem::path& path, FunctionRef<void(const std::filesystem::path& partial)> write) {
  std::filesystem::path partial = path;
  partial.replace_filename(fmt::format(".{}.partial", path.filename().string()));
  std::error_code error;
  std::filesystem::remove(partial, error);
  write(partial);
  std::filesystem::rename(partial, path, error);
  if (!error) return;
  std::error_code ignored;
  std::filesystem::remove(partial, ignored);
  throw InputError(fmt::format("cannot replace '{}': {}", path.string(), error.message()));
}

}  // namespace conclave::train
