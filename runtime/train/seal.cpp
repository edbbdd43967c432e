// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/seal.hpp"

#include "runtime/core/digest.hpp"
#include "runtime/core/error.hpp"
#include "runtime/train/disk_file.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <span>

namespace conclave::train {

namespace fs = std::filesystem;

namespace {

static_assert(std::endian::native == std::endian::little, "seals are little-endian");

constexpr std::uint64_t magic = 0x314c414553434e43;  // "CNCSEAL1"

/// The last bytes of a sealed file. Before them stand the uncovered ranges, and before those the file itself.
struct Tail {
  std::int64_t length = 0;      // bytes of the file itself
  std::int64_t num_ranges = 0;  // Range each
  std::uint64_t digest = 0;     // of the covered bytes and the ranges
  std::uint64_t magic = 0;
};
static_assert(sizeof(Tail) == 32 && sizeof(Range) == 16);

constexpr auto tail_bytes = static_cast<Index>(sizeof(Tail));
constexpr auto range_bytes = static_cast<Index>(sizeof(Range));

InputError damaged(const fs::path& file, const std::string& how) {
  return InputError(fmt::format("'{}' is damaged: {}", file.string(), how));
}

/// In order, without those that are empty, and with those that touch made one.
std::vector<Range> merged(std::vector<Range> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](Range a, Range b) { return a.begin < b.begin; });
  std::vector<Range> all;
  for (const Range range : ranges) {
    if (range.empty()) continue;
    if (!all.empty() && range.begin <= all.back().end) {
      all.back().end = std::max(all.back().end, range.end);
    } else {
      all.push_back(range);
    }
  }
  return all;
}

/// Cost: every covered byte is read once.
std::uint64_t digest_of(const DiskFile& disk, Index length, const std::vector<Range>& uncovered) {
  constexpr Index most = Index{1} << 20;
  std::vector<std::byte> piece(static_cast<std::size_t>(std::min(most, length)));
  Digest digest;
  const auto add = [&](Range covered) {
    for (Index at = covered.begin; at < covered.end; at += most) {
      const auto now = std::span(piece).first(static_cast<std::size_t>(std::min(most, covered.end - at)));
      disk.read_at(at, now);
      digest.add("covered", at, std::span<const std::byte>(now));
    }
  };
  Index at = 0;
  for (const Range range : uncovered) {
    add({at, range.begin});
    at = range.end;
  }
  add({at, length});
  digest.add("uncovered", length, std::span<const Range>(uncovered));
  return digest.value();
}

struct Seal {
  Tail tail;
  std::vector<Range> uncovered;
};

/// The seal at the end of a file, with ranges that lie within the file.
Seal read_seal(const DiskFile& disk, const fs::path& file) {
  const auto size = static_cast<Index>(fs::file_size(file));
  Seal seal;
  if (size >= tail_bytes) disk.read_at(size - tail_bytes, std::as_writable_bytes(std::span(&seal.tail, 1)));
  if (seal.tail.magic != magic) {
    throw InputError(
        fmt::format("'{}' does not end with its seal: it is truncated, was lengthened, or is no checkpoint "
                    "of this version",
                    file.string()));
  }
  const Index most_ranges = (size - tail_bytes) / range_bytes;
  if (seal.tail.num_ranges < 0 || seal.tail.num_ranges > most_ranges ||
      seal.tail.length != size - tail_bytes - seal.tail.num_ranges * range_bytes) {
    throw damaged(file, fmt::format("its seal is that of a file of {} bytes", seal.tail.length));
  }
  seal.uncovered.resize(static_cast<std::size_t>(seal.tail.num_ranges));
  disk.read_at(seal.tail.length, std::as_writable_bytes(std::span(seal.uncovered)));
  Index at = 0;
  for (const Range range : seal.uncovered) {
    if (range.begin < at || range.end < range.begin || range.end > seal.tail.length) {
      throw damaged(file,
                    fmt::format("its seal leaves out bytes [{}, {}) of {}", range.begin, range.end, seal.tail.length));
    }
    at = range.end;
  }
  return seal;
}

}  // namespace

void seal(const fs::path& file, std::vector<Range> uncovered) {
  const DiskFile disk(file, DiskFile::Access::read_write);
  const auto length = static_cast<Index>(fs::file_size(file));
  const std::vector<Range> ranges = merged(std::move(uncovered));
  invariant(ranges.empty() || (ranges.front().begin >= 0 && ranges.back().end <= length),
            "a seal that leaves out bytes beyond the {} of '{}'", length, file.string());
  const Tail tail{length, std::ssize(ranges), digest_of(disk, length, ranges), magic};
  disk.write_at(length, std::as_bytes(std::span(ranges)));
  disk.write_at(length + std::ssize(ranges) * range_bytes, std::as_bytes(std::span(&tail, 1)));
}

void require_sealed(const fs::path& file) {
  const DiskFile disk(file, DiskFile::Access::read);
  const Seal seal = read_seal(disk, file);
  if (digest_of(disk, seal.tail.length, seal.uncovered) != seal.tail.digest) {
    throw damaged(file, "what stands in it beside its tensors does not match its checksum");
  }
}

std::vector<Range> uncovered_by_seal(const fs::path& file) {
  require_sealed(file);
  return read_seal(DiskFile(file, DiskFile::Access::read), file).uncovered;
}

}  // namespace conclave::train
