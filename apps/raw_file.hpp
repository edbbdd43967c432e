// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "runtime/core/ids.hpp"

#include <filesystem>
#include <string>

namespace conclave::apps {

/// A file that is written and read as fast as this machine can, of as many bytes as are asked for; removed with the
/// object. InputError where the system refuses.
class RawFile {
 public:
  RawFile(std::filesystem::path path, Index bytes);
  ~RawFile();
  RawFile(const RawFile&) = delete;
  RawFile& operator=(const RawFile&) = delete;

  /// A new file, on the disk.
  void write() const;
  /// From the disk, where the system lets go of its copy in memory.
  void read();
  /// As many bytes in memory.
  void copy();

 private:
  std::filesystem::path path_;
  std::string content_, copy_;
};

}  // namespace conclave::apps
