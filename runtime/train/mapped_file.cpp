// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/mapped_file.hpp"

#include "runtime/core/error.hpp"

#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace conclave::train {
namespace {

[[noreturn]] void fail(const char* action, const std::string& path, int error, std::string hint) {
  throw InputError(fmt::format("cannot {} '{}': {}", action, path, std::generic_category().message(error)),
                   std::move(hint));
}

/// An open file, closed at the end of its scope.
class Descriptor {
 public:
  explicit Descriptor(const std::string& path) {
    // Non-blocking, so that opening a pipe nobody writes to does not wait; it means nothing for regular files.
    do {
      value_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    } while (value_ < 0 && errno == EINTR);
    if (value_ < 0) fail("open", path, errno, "check the path, and that every rank may read it");
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { ::close(value_); }
  [[nodiscard]] int value() const { return value_; }

 private:
  int value_ = -1;
};

}  // namespace

MappedFile::MappedFile(std::string path) : path_(std::move(path)) {
  const Descriptor file(path_);
  struct stat status {};
  if (::fstat(file.value(), &status) != 0) fail("measure", path_, errno, "check the file system that holds it");
  if (!S_ISREG(status.st_mode)) {
    throw InputError(fmt::format("'{}' is not a regular file", path_), "give a file that can be read at any place");
  }
  identity_ = {status.st_dev, status.st_ino};
  if (status.st_size == 0) return;
  const auto size = static_cast<std::size_t>(status.st_size);
  void* memory = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.value(), 0);
  if (memory == MAP_FAILED) {
    fail("map", path_, errno,
         "with very many files, join small ones into larger ones or raise the kernel's limit vm.max_map_count");
  }
  // Windows are read in shuffled order: reading ahead would fetch what is not wanted. Advice, so a refusal is harmless.
  ::madvise(memory, size, MADV_RANDOM);
  bytes_ = {static_cast<const std::uint8_t*>(memory), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::uint8_t*>(bytes_.data()), bytes_.size());
}

void MappedFile::swap(MappedFile& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  std::swap(identity_, other.identity_);
}

}  // namespace conclave::train
