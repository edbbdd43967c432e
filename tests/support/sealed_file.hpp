// SPDX-License-Identifier: BSD-3-Clause
// Files that were changed by somebody who can seal them.
#pragma once

#include "runtime/train/seal.hpp"

#include <utility>

namespace conclave::test {

/// Does `change` to a sealed file, which gives it another seal: what is behind the seal is then met.
template <class Change>
void change_and_seal(const std::filesystem::path& file, Change&& change) {
  const std::vector<Range> uncovered = train::uncovered_by_seal(file);
  const auto seal_bytes = 32 + 16 * uncovered.size();
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - seal_bytes);
  std::forward<Change>(change)();
  train::seal(file, uncovered);
}

}  // namespace conclave::test
