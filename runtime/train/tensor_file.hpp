// SPDX-License-Identifier: BSD-3-Clause
// Named tensors of which every rank holds a part, in one HDF5 file that shows no trace of who held what.
#pragma once

#include "runtime/train/hdf5.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace conclave::train {

/// A tensor and the part of it that this rank holds (to write) or asks for (to read). All ranks name the same tensors
/// with the same shapes in the same order.
struct TensorPart {
  std::string name;          // the dataset's path: "/params/block/0/moe/expert/0007/w1"
  std::vector<Index> shape;  // of the whole tensor
  Range held;                // positions of the whole tensor, in row order; may be empty
  float* data = nullptr;     // [held.size()]; writing does not change it
};

/// The checksum of the elements at positions [first, first + values.size()) of a tensor: the sum modulo 2^64 of
/// mix(position, bits), so that any cut into parts gives the same sum. mix is a bijection of 64 bits: a change of any
/// one element always shows; other damage goes unnoticed with probability 2^-64.
[[nodiscard]] std::uint64_t tensor_checksum(std::span<const float> values, Index first);

/// Checks that all ranks describe the same tensors and together hold every element exactly once. InvariantError on
/// every rank otherwise. Collective.
void check_whole(const comm::Communicator& communicator, std::span<const TensorPart> parts);

/// The checksums of what this rank holds of each tensor, and those of the whole tensors from them. The second is
/// collective.
[[nodiscard]] std::vector<std::uint64_t> checksums_here(std::span<const TensorPart> parts);
[[nodiscard]] std::vector<std::uint64_t> checksums_of_whole(const comm::Communicator& communicator,
                                                            const std::vector<std::uint64_t>& here);

/// Creates the datasets (float32, contiguous), in a file that one rank alone has open, and returns where each one's
/// values begin [bytes]; 0 for one without elements. Their values are unspecified until they are written, their
/// checksums until store_checksums.
[[nodiscard]] std::vector<Index> reserve_tensors(Hdf5File& file, std::span<const TensorPart> parts);
void store_checksums(Hdf5File& file, std::span<const TensorPart> parts, std::span<const std::uint64_t> checksums);

/// Writes every rank's parts into the reserved datasets, brings them to the disk, and returns the checksums of this
/// rank's parts (checksums_here), which are computed meanwhile. InputError on every rank if it fails on any.
/// Collective.
[[nodiscard]] std::vector<std::uint64_t> write_parts(const comm::Communicator& communicator,
                                                     const std::filesystem::path& path,
                                                     std::span<const TensorPart> parts);

/// Reads the parts that each rank asks for (any, whoever wrote them) and verifies the tensors' checksums. InputError on
/// every rank if the file's tensors under the top-level groups named are not exactly these (up to 20 differences are
/// listed), or are damaged. Collective.
void read_parts(const comm::Communicator& communicator, const std::filesystem::path& path,
                std::span<const TensorPart> parts);

/// How much a file holds in tensors.
struct TensorTotals {
  Index tensors = 0;
  Index elements = 0;
};
/// Reads every tensor under these top-level groups, each rank a share, and compares it with its checksum. InputError on
/// every rank naming those that are damaged. Collective.
TensorTotals verify_tensors(const comm::Communicator& communicator, const std::filesystem::path& path,
                            const std::vector<std::string>& groups);

}  // namespace conclave::train
