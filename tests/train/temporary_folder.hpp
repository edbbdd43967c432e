// SPDX-License-Identifier: BSD-3-Clause
// A folder of a test's own, gone at the end of its scope, and text to put into it.
#pragma once

#include "runtime/core/random.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include <unistd.h>

namespace conclave::train {

class TemporaryFolder {
 public:
  explicit TemporaryFolder(const std::string& name = {}) {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    path_ = std::filesystem::path(testing::TempDir()) /
            (std::string("conclave_") + test->name() + "_" + std::to_string(::getpid()) + name);
    std::filesystem::create_directories(path_);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] std::string path(std::string_view name = {}) const {
    return name.empty() ? path_.string() : (path_ / name).string();
  }
  /// Writes a file, with the folders it needs.
  void write(std::string_view name, std::string_view content) const {
    std::filesystem::create_directories(std::filesystem::path(path(name)).parent_path());
    std::ofstream(path(name), std::ios::binary) << content;
  }

 private:
  std::filesystem::path path_;
};

/// Random letters.
inline std::string random_text(Index size, Index seed) {
  const Random random(seed, RandomStream::generate);
  std::string text(static_cast<std::size_t>(size), ' ');
  for (Index i = 0; i < size; ++i) text[i] = static_cast<char>('a' + random.bits(i, 0) % 26);
  return text;
}

}  // namespace conclave::train
