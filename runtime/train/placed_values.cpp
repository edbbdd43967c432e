// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/placed_values.hpp"

#include "runtime/core/error.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace conclave::train {

static_assert(std::endian::native == std::endian::little, "checkpoints are little-endian");

void write_values(const DiskFile& file, std::span<const PlacedValues> runs) {
  for (const PlacedValues& run : runs) file.write_at(run.offset_bytes, std::as_bytes(run.values));
}

void read_back(const DiskFile& file, std::span<const PlacedValues> runs) {
  constexpr std::size_t piece_bytes = std::size_t{1} << 20;
  std::vector<std::byte> piece(piece_bytes);
  std::vector<std::string> wrong;
  for (const PlacedValues& run : runs) {
    const std::span<const std::byte> bytes = std::as_bytes(run.values);
    bool is_same = true;
    for (std::size_t at = 0; at < bytes.size(); at += piece_bytes) {
      const std::size_t size = std::min(piece_bytes, bytes.size() - at);
      file.read_at(run.offset_bytes + static_cast<Index>(at), std::span(piece).first(size));
      is_same = is_same && std::memcmp(piece.data(), bytes.data() + at, size) == 0;
    }
    if (!is_same) wrong.push_back(run.name);
  }
  if (wrong.empty()) return;
  throw InputError(
      fmt::format("read back from the disk, {} of the tensors written are not what they were, among them {}",
                  wrong.size(), wrong.front()),
      "the disk or the way to it is at fault: give another folder; earlier checkpoints are untouched");
}

}  // namespace conclave::train
