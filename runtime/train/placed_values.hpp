// SPDX-License-Identifier: BSD-3-Clause
// Values and where in a file they stand: written and read back without HDF5 and MPI, so that a helper thread may do it.
#pragma once

#include "runtime/train/disk_file.hpp"

#include <vector>

namespace conclave::train {

/// A run of a tensor's values, little-endian float32 in the file as in memory.
struct PlacedValues {
  std::string name;  // of the tensor
  std::span<const float> values;
  Index offset_bytes = 0;  // of the first of them in the file
};

/// Writes all runs. InputError if that fails.
void write_values(const DiskFile& file, std::span<const PlacedValues> runs);

/// Reads all runs and compares them with memory, bit for bit. InputError naming the tensors that the file has
/// otherwise, or if it cannot be read.
void read_back(const DiskFile& file, std::span<const PlacedValues> runs);

}  // namespace conclave::train
