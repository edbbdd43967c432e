// SPDX-License-Identifier: BSD-3-Clause
// A seal at a file's end, which tells before anything interprets the file whether its bytes are those that were
// written: HDF5 crashes on some files whose structure is damaged, so damage must not reach it. No MPI and no HDF5.
#pragma once

#include "runtime/core/ids.hpp"

#include <filesystem>
#include <vector>

namespace conclave::train {

/// Adds a seal behind the end of a file that has none. It covers the file's length and all of its bytes but those in
/// `uncovered` [bytes from the beginning], which may come in any order and are to have checksums of their own: large
/// values that nobody interprets. InputError if the file cannot be read or written.
void seal(const std::filesystem::path& file, std::vector<Range> uncovered);

/// InputError unless the file ends with its seal and what that covers is as it was: a file that was cut, lengthened or
/// changed in a covered byte is refused. (A seal is no signature: who makes a file can seal it.)
void require_sealed(const std::filesystem::path& file);

/// What the seal of a sound file leaves uncovered, in order.
[[nodiscard]] std::vector<Range> uncovered_by_seal(const std::filesystem::path& file);

}  // namespace conclave::train
