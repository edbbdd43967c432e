// SPDX-License-Identifier: BSD-3-Clause
#include "tests/fuzz/damage.hpp"
#include "tests/fuzz/forgery.hpp"
#include "tests/support/file_content.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string_view>
#include <vector>

// HDF5's own, which its library exports but no header declares: what stands behind the parts of a file's structure.
extern "C" std::uint32_t H5_checksum_lookup3(const void* bytes, std::size_t size, std::uint32_t start);

namespace conclave::fuzz {
namespace {

std::uint32_t checksum(std::string_view bytes) { return H5_checksum_lookup3(bytes.data(), bytes.size(), 0); }

/// A part of the structure: what its checksum, the four bytes behind it, is over.
struct Checked {
  std::size_t begin = 0;
  std::size_t size = 0;
};

bool matches(const std::string& bytes, Checked part) {
  if (part.begin + part.size + 4 > bytes.size()) return false;
  std::uint32_t stored = 0;
  std::memcpy(&stored, bytes.data() + part.begin + part.size, 4);
  return checksum(std::string_view(bytes).substr(part.begin, part.size)) == stored;
}

/// The superblock and the object headers (of version 2).
std::vector<Checked> checked_parts(const std::string& bytes) {
  std::vector<Checked> parts;
  if (matches(bytes, {0, 44})) parts.push_back({0, 44});
  for (auto at = bytes.find("OHDR"); at != std::string::npos; at = bytes.find("OHDR", at + 1)) {
    const auto flags = static_cast<unsigned char>(bytes[at + 5]);
    const std::size_t width = std::size_t{1} << (flags & 3U);
    const std::size_t before = 6 + ((flags & 0x20U) != 0 ? 16 : 0) + ((flags & 0x10U) != 0 ? 4 : 0);
    std::size_t size = 0;
    std::memcpy(&size, bytes.data() + at + before, width);
    const Checked part{at, before + width + size};
    if (matches(bytes, part)) parts.push_back(part);
  }
  return parts;
}

}  // namespace

std::string forge_structure(const std::filesystem::path& file, Draws& draws) {
  std::string bytes = test::content_of(file);
  const std::vector<Checked> parts = checked_parts(bytes);
  std::string said;
  if (parts.empty()) {  // of the format before HDF5 1.8
    said = damage_in_place(bytes, draws);
  } else {
    if (parts.size() < 3) throw std::logic_error(fmt::format("only {} checksums were understood", parts.size()));
    const Checked part = draws.of<Checked>(parts);
    std::string changed = bytes.substr(part.begin, part.size);
    said = damage_in_place(changed, draws);
    const std::uint32_t mended = checksum(changed);
    bytes.replace(part.begin, part.size, changed);
    std::memcpy(bytes.data() + part.begin + part.size, &mended, sizeof(mended));
    said = fmt::format("in the structure of {} bytes at {}: {}", part.size, part.begin, said);
  }
  test::write_content(file, bytes);
  return said;
}

}  // namespace conclave::fuzz
