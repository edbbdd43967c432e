// SPDX-License-Identifier: BSD-3-Clause
// A folder of checkpoints by its names: step-00001000.h5 and so on, and `latest`, a link to the one that was finished
// last. One process at a time changes it: the root.
#pragma once

#include "runtime/core/ids.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace conclave::train {

/// Which checkpoints stay when another has been finished.
struct Retention {
  Index last = 3;   // the newest, by their steps; the one just written among them
  Index every = 0;  // and those of steps that are multiples of it; 0: none
};

/// The folder that a file is in, the present one for a bare name.
[[nodiscard]] std::filesystem::path folder_of(const std::filesystem::path& file);

/// Where the checkpoint of `step` is kept, and where it is written until it stands whole on the disk.
[[nodiscard]] std::filesystem::path checkpoint_path(const std::filesystem::path& folder, Index step);
[[nodiscard]] std::filesystem::path partial_path(const std::filesystem::path& folder, Index step);

/// The step in a checkpoint's file name; nothing for other names.
[[nodiscard]] std::optional<Index> step_of(const std::filesystem::path& file);

struct StoredStep {
  Index step = 0;
  std::filesystem::path file;
};

/// The checkpoints in a folder by their names, newest first.
[[nodiscard]] std::vector<StoredStep> stored_steps(const std::filesystem::path& folder);

/// Lets the folder's `latest` lead to `file`, which is in it; at every instant it leads to this one or to the one from
/// before. On a file system without links there is none. InputError if it cannot be replaced.
void point_latest(const std::filesystem::path& file);

/// The checkpoint in the folder that `latest` names, there or not; nothing if there is no such link.
[[nodiscard]] std::optional<std::filesystem::path> latest_of(const std::filesystem::path& folder);

/// Removes what a process that was killed has left half written, and the checkpoints that `retention` does not keep;
/// never `written`.
void prune(const std::filesystem::path& written, const Retention& retention);

}  // namespace conclave::train
