// SPDX-License-Identifier: BSD-3-Clause
// Checkpoints: one HDF5 file each, FOLDER/step-00001000.h5, that is whole or does not exist. It holds the bytes of the
// tensors and nothing that depends on the number of ranks: equal states make equal files. Behind the end of what HDF5
// reads stands a seal over all but the tensors' values: it is compared before HDF5 opens the file.
#pragma once

#include "runtime/train/checkpoint_header.hpp"
#include "runtime/train/tensor_file.hpp"

#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace conclave::train {

inline constexpr const char* checkpoint_format = "conclave-checkpoint";
inline constexpr std::int64_t checkpoint_version = 1;

/// Opens a checkpoint on this rank alone. InputError if it is not a complete one of this version.
[[nodiscard]] Hdf5File open_checkpoint(const std::filesystem::path& path);

/// What a checkpoint holds beside its tensors, on every rank. InputError on every rank if the file is not a complete
/// checkpoint of this version. Collective.
[[nodiscard]] CheckpointHeader read_header(const comm::Communicator& communicator, const std::filesystem::path& file);

/// Reads the parts that this rank asks for, as read_parts. InputError on every rank if the file is not a complete
/// checkpoint of this version, if its tensors under the top-level groups named differ from these, or if it is damaged.
/// Collective.
void read_tensors(const comm::Communicator& communicator, const std::filesystem::path& file,
                  std::span<const TensorPart> parts);

/// Reads a whole checkpoint, every rank a share. InputError on every rank if it is not a complete checkpoint of this
/// version or if anything in it does not match its checksum. Collective.
TensorTotals verify_checkpoint(const comm::Communicator& communicator, const std::filesystem::path& file);

/// A checkpoint, and the newer ones that were passed over, each with the reason: to be told to the user.
struct FoundCheckpoint {
  std::filesystem::path file;  // empty if there is none
  std::vector<std::string> passed_over;
};

/// The checkpoint that a folder's `latest` leads to, or, where that one is damaged, the complete and sound one of the
/// highest step (none if there is no such folder); or the file itself if it is one, as far as its beginning tells.
/// Reads the tensors of a folder's checkpoint. The same on every rank. Collective.
[[nodiscard]] FoundCheckpoint newest_checkpoint(const comm::Communicator& communicator,
                                                const std::filesystem::path& file_or_folder);

}  // namespace conclave::train
