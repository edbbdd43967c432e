// SPDX-License-Identifier: BSD-3-Clause
// HDF5 files as a stranger can make them: sound in themselves, but not what they should be. What they say is what was
// done to them.
#pragma once

#include "tests/fuzz/draws.hpp"

#include <filesystem>

namespace conclave::fuzz {

/// Changes objects of a file through HDF5: names, links, shapes, types, storage, attributes. `foreign` is another HDF5
/// file, which nothing may be read from. A seal is the caller's.
std::string forge_objects(const std::filesystem::path& file, const std::filesystem::path& foreign, Draws& draws);

/// Gives an attribute, or numbers of a dataset, other values of the same type. A seal is the caller's.
std::string forge_values(const std::filesystem::path& file, Draws& draws);

/// Damages the structure that HDF5 reads and mends HDF5's own checksums of the object that was hit, if it has any: what
/// HDF5 does with such a file is its own affair, but the program must not take it for sound. A seal is the caller's.
std::string forge_structure(const std::filesystem::path& file, Draws& draws);

/// Gives a checkpoint another header, with a checksum that matches it: options, counts and tables that were never
/// written by a run. Seals it again.
std::string forge_header(const std::filesystem::path& file, Draws& draws);

}  // namespace conclave::fuzz
