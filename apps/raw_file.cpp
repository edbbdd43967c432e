// SPDX-License-Identifier: BSD-3-Clause
#include "apps/raw_file.hpp"

#include "runtime/train/disk_file.hpp"

#include <algorithm>
#include <fstream>

namespace conclave::apps {

RawFile::RawFile(std::filesystem::path path, Index bytes)
    : path_(std::move(path)), content_(static_cast<std::size_t>(bytes), 'x'), copy_(content_) {}

RawFile::~RawFile() {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

void RawFile::write() const {
  std::ofstream(path_, std::ios::binary | std::ios::trunc).close();
  const train::DiskFile file(path_, train::DiskFile::Access::read_write);
  file.write_at(0, std::as_bytes(std::span(content_)));
  file.sync();
}

void RawFile::read() {
  const train::DiskFile file(path_, train::DiskFile::Access::read);
  file.drop_cache();
  file.read_at(0, std::as_writable_bytes(std::span(copy_)));
}

void RawFile::copy() { std::copy(content_.begin(), content_.end(), copy_.begin()); }

}  // namespace conclave::apps
