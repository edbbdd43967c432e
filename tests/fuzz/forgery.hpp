// SPDX-License-Identifier: BSD-3-Clause
// Checkpoints as a stranger can make them: sealed and with checksums that match, but not what they should be.
#pragma once

#include "tests/fuzz/draws.hpp"

#include <filesystem>

namespace conclave::fuzz {

/// Changes objects of a checkpoint through HDF5 (names, links, shapes, types, storage, attributes), seals it again, and
/// says what was done. `foreign` is another HDF5 file, which nothing may be read from.
std::string forge_objects(const std::filesystem::path& file, const std::filesystem::path& foreign, Draws& draws);

/// Gives the checkpoint another header, with a checksum that matches it: options, counts and tables that were never
/// written by a run. Seals it again, and says what was done.
std::string forge_header(const std::filesystem::path& file, Draws& draws);

/// Damages the structure that HDF5 reads, mends HDF5's own checksums of the object that was hit, if it was one, and
/// seals the file: what HDF5 does with such a file is its own affair, but the program must not take it for sound.
std::string forge_structure(const std::filesystem::path& file, Draws& draws);

}  // namespace conclave::fuzz
