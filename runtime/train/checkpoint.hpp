// SPDX-License-Identifier: BSD-3-Clause
// Checkpoints: one HDF5 file each, FOLDER/step-00001000.h5, that is whole or does not exist. It holds the bytes of the
// tensors and nothing that depends on the number of ranks: equal states make equal files.
// A checkpoint is written as .step-00001000.h5.partial and renamed when it stands on the disk; so a job that dies at
// any instant leaves the earlier checkpoints and at most one .partial file, which the next successful write removes.
#pragma once

#include "runtime/train/checkpoint_header.hpp"
#include "runtime/train/tensor_file.hpp"

#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace conclave::train {

/// Where the checkpoint of `step` is kept.
[[nodiscard]] std::filesystem::path checkpoint_path(const std::filesystem::path& folder, Index step);

/// Writes the checkpoint of `step` and returns its path. The parts of all ranks must make up every tensor exactly once;
/// names start with a group other than /config, /state, /record and /tables; the header's is rank 0's. An existing
/// checkpoint of `step` is replaced. Of the others the newest `keep` - 1 stay. InputError on every rank, with the free
/// space, if it cannot be written; earlier checkpoints are then untouched. Collective.
std::filesystem::path write_checkpoint(const comm::Communicator& communicator, const std::filesystem::path& folder,
                                       Index step, Index keep, const CheckpointHeader& header,
                                       std::span<const TensorPart> parts);

/// What a checkpoint holds beside its tensors, on every rank. InputError on every rank if the file is not a complete
/// checkpoint of this version. Collective.
[[nodiscard]] CheckpointHeader read_header(const comm::Communicator& communicator, const std::filesystem::path& file);

/// Reads the parts that this rank asks for, as read_parts. InputError on every rank if the file is not a complete
/// checkpoint of this version, if its tensors under the top-level groups named differ from these, or if it is damaged.
/// Collective.
void read_tensors(const comm::Communicator& communicator, const std::filesystem::path& file,
                  std::span<const TensorPart> parts);

/// A checkpoint, and the newer ones that were passed over, each with the reason: to be told to the user.
struct FoundCheckpoint {
  std::filesystem::path file;  // empty if there is none
  std::vector<std::string> passed_over;
};

/// The complete checkpoint of the highest step in a folder (none if there is no such folder), or the file itself if it
/// is one. Opens files without reading their tensors. The same on every rank. Collective.
[[nodiscard]] FoundCheckpoint newest_checkpoint(const comm::Communicator& communicator,
                                                const std::filesystem::path& file_or_folder);

}  // namespace conclave::train
