// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/placed_values.hpp"

#include "runtime/core/error.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace conclave::train {

static_assert(std::endian::native == std::endian::little, "checkpoints are little-endian");

namespace {

constexpr std::size_t piece_bytes = std::size_t{1} << 20;

/// Calls with the run's number, a piece of its values, and where that stands in the file [bytes].
template <class Visit>
void for_each_piece(std::span<const PlacedValues> runs, const Visit& visit) {
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const std::span<const std::byte> bytes = std::as_bytes(runs[i].values);
    for (std::size_t at = 0; at < bytes.size(); at += piece_bytes) {
      const std::size_t size = std::min(piece_bytes, bytes.size() - at);
      visit(i, bytes.subspan(at, size), runs[i].offset_bytes + static_cast<Index>(at));
    }
  }
}

}  // namespace

void write_values(const DiskFile& file, std::span<const PlacedValues> runs) {
  EarlySync early(file);
  for_each_piece(runs, [&](std::size_t, std::span<const std::byte> bytes, Index offset) {
    file.write_at(offset, bytes);
    early.written(std::ssize(bytes));
  });
}

void read_back(const DiskFile& file, std::span<const PlacedValues> runs) {
  std::vector<std::byte> memory(piece_bytes);
  std::vector<bool> is_wrong(runs.size());
  for_each_piece(runs, [&](std::size_t run, std::span<const std::byte> bytes, Index offset) {
    const std::span<std::byte> piece = std::span(memory).first(bytes.size());
    file.read_at(offset, piece);
    if (std::memcmp(piece.data(), bytes.data(), bytes.size()) != 0) is_wrong[run] = true;
  });
  std::vector<std::string> wrong;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (is_wrong[i]) wrong.push_back(runs[i].name);
  }
  if (wrong.empty()) return;
  throw InputError(
      fmt::format("read back from the disk, {} of the tensors written are not what they were, among them {}",
                  wrong.size(), wrong.front()),
      "the disk or the way to it is at fault: give another folder; earlier checkpoints are untouched");
}

}  // namespace conclave::train
