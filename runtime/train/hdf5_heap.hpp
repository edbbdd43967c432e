// SPDX-License-Identifier: BSD-3-Clause
// Texts of variable length stand apart from their dataset, in heaps that have no checksums and that HDF5 1.10 takes as
// they are: in a damaged one it runs on without end or beyond its memory. For files that include hdf5.h themselves.
#pragma once

#include "runtime/train/hdf5.hpp"

#include <hdf5.h>

namespace conclave::train::detail {

/// InputError unless the heaps of a dataset of texts of variable length hold every text that it names. Looks at
/// contiguous datasets, as HDF5 and h5py make them where nothing else is asked for; for others HDF5 has to do.
void require_sound_texts(hid_t file, hid_t dataset, const std::filesystem::path& path, const std::string& what);

}  // namespace conclave::train::detail
