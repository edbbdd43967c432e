// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/digest.hpp"

#include <xxhash.h>

namespace conclave {

void Digest::add_bytes(std::string_view name, Index index, const void* bytes, std::size_t size) {
  const std::uint64_t seed = XXH3_64bits_withSeed(name.data(), name.size(), static_cast<std::uint64_t>(index));
  value_ += XXH3_64bits_withSeed(bytes, size, seed);
}

}  // namespace conclave
