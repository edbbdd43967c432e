// SPDX-License-Identifier: BSD-3-Clause
// The folder that a training run writes into.
#pragma once

#include "apps/train_options.hpp"
#include "runtime/train/folder_lock.hpp"

namespace conclave::apps {

/// A run must not mix with another one in its folder, be it new, resumed elsewhere, or taken back to an earlier step:
/// InputError on every rank if options.out holds checkpoints of which `from` is not the newest. Collective.
void refuse_used_folder(const comm::Communicator& world, const train::TrainOptions& options,
                        const std::optional<OpenedCheckpoint>& from);

/// The root takes the folder if it is there. One that is not is made only once the run begins, so that a run that is
/// refused leaves none. InputError on every rank as FolderLock::take. Collective.
void take_if_there(const comm::Communicator& world, train::FolderLock& lock, const std::filesystem::path& folder);

/// Writes the options as a file for --config into the run's folder, which is made if it is missing. InputError on every
/// rank if that fails. Collective.
void write_configuration(const comm::Communicator& world, const train::TrainOptions& options);

/// The newest checkpoint in the run's folder that is sound, or nothing; `tell` is given a line for each that was passed
/// over. Collective.
[[nodiscard]] std::optional<OpenedCheckpoint> last_checkpoint(const comm::Communicator& world,
                                                              const train::TrainOptions& options,
                                                              const std::function<void(const std::string&)>& tell);

}  // namespace conclave::apps
