// SPDX-License-Identifier: BSD-3-Clause
// A training run's options as sections of a command, as a file, and as a checkpoint keeps them.
#pragma once

#include "apps/command.hpp"
#include "apps/expert_mover.hpp"
#include "runtime/train/checkpoint.hpp"
#include "runtime/train/options.hpp"

namespace conclave::apps {

/// What a training run is: the sections of all commands that take one.
void describe_training(train::TrainOptions& options, OptionSections& sections);
/// What `conclave train` takes: beside the run, what no file keeps of it.
struct TrainCommand {
  train::TrainOptions run;
  PricingFiles pricing;
};
/// The sections of `conclave train`: beside the run's, by what its experts are placed and how it is looked at while it
/// is on.
void describe_train_command(TrainCommand& command, OptionSections& sections);

/// Name and value of every option that makes the run what it is, as a checkpoint keeps them: not where files are, what
/// its first parameters came from, how many threads compute and when to stop.
[[nodiscard]] std::map<std::string, std::string> option_values(const train::TrainOptions& options);

/// The options as a file that `conclave train --config` reads.
[[nodiscard]] std::string training_configuration(const train::TrainOptions& options);

/// Gives `options` the values that a checkpoint's run had, except for names in `given`, and for those that belong to
/// one start of the program (out, resume, init_from, stop_after, threads, ...). Returns a sentence for each given
/// option that differs from the checkpoint's. InputError if the checkpoint has an option with a value that this version
/// does not know.
[[nodiscard]] std::vector<std::string> adopt_options(const train::CheckpointHeader& header,
                                                     const std::set<std::string>& given, train::TrainOptions& options);

/// The checkpoint that `path` (a file or a folder of them) names, with its header. InputError, naming the path, if
/// there is none; newer ones that were passed over are told on stderr. Collective.
struct OpenedCheckpoint {
  std::filesystem::path file;
  train::CheckpointHeader header;
};
[[nodiscard]] OpenedCheckpoint open_checkpoint(const comm::Communicator& world, const std::string& path);

}  // namespace conclave::apps
