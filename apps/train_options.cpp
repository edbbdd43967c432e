// SPDX-License-Identifier: BSD-3-Clause
#include "apps/train_options.hpp"

#include "apps/option_text.hpp"

namespace conclave::apps {
namespace {

// How the program was started this time: no part of what the run is.
const std::set<std::string> of_one_start{
    "checkpoint_async", "explain_router", "init_from", "init_matching", "metrics_textfile", "out",
    "record_routing",   "requeue",        "resume",    "rule_file",     "stop_after",       "threads",
    "time_limit",       "time_margin",    "upcycle",   "upcycle_noise", "upcycle_split"};

}  // namespace

void describe_training(train::TrainOptions& options, OptionSections& sections) {
  train::describe_run(options, sections.section("Run"));
  train::describe(options.data, sections.section("Data"));
  model::describe(options.model, sections.section("Model, router and experts"));
  train::describe(options.optimizer, sections.section("Optimizer"));
  train::describe(options.start, sections.section("Start"));
  train::describe(options.distil, sections.section("Teacher"));
  train::describe_files(options, sections.section("Files and evaluation"));
}

void describe_train_command(TrainCommand& command, OptionSections& sections) {
  describe_training(command.run, sections);
  describe(command.pricing, sections.section("Placement of experts"));
  train::describe(command.run.trace, sections.section("Trace"));
}

std::map<std::string, std::string> option_values(const train::TrainOptions& options) {
  train::TrainOptions copy = options;
  OptionSections sections;
  describe_training(copy, sections);
  std::map<std::string, std::string> values;
  for (const Option* option : sections.all()) {
    if (!of_one_start.contains(option->name)) values[option->name] = option->text();
  }
  return values;
}

std::string training_configuration(const train::TrainOptions& options) {
  train::TrainOptions copy = options;
  OptionSections sections;
  describe_training(copy, sections);
  return configuration_text("run again with: conclave train --config THIS_FILE", sections);
}

std::vector<std::string> adopt_options(const train::CheckpointHeader& header, const std::set<std::string>& given,
                                       train::TrainOptions& options) {
  OptionSections sections;
  describe_training(options, sections);
  std::vector<std::string> changed;
  for (const auto& [name, text] : header.config) {
    const Option* option = sections.find(name);
    if (of_one_start.contains(name)) {
      // No run writes these: where to write and what to start is for who starts the program to say.
      changed.push_back(
          fmt::format("the checkpoint's option {} = {} is of one start of the program and ignored", name, text));
    } else if (option == nullptr) {
      changed.push_back(
          fmt::format("the checkpoint's option {} = {} is unknown to this version and ignored", name, text));
    } else if (given.contains(name)) {
      if (option->text() != text) changed.push_back(fmt::format("{} was {}, now it is {}", name, text, option->text()));
    } else if (!option->assign(text)) {
      throw InputError(fmt::format("the checkpoint's {} = '{}' is not known to this version", name, text),
                       fmt::format("it takes {}: give --{} yourself", option->accepts, flag_of(name)));
    }
  }
  return changed;
}

OpenedCheckpoint open_checkpoint(const comm::Communicator& world, const std::string& path) {
  if (path.empty())
    throw InputError("no checkpoint was named", "give --checkpoint a file or the folder that a run wrote into");
  const train::FoundCheckpoint found = train::newest_checkpoint(world, path);
  if (world.is_root()) {
    for (const std::string& reason : found.passed_over) fmt::print(stderr, "passed over: {}\n", reason);
  }
  if (found.file.empty()) {
    throw InputError(fmt::format("there is no complete checkpoint in '{}'", path),
                     "name a checkpoint (step-NNNNNNNN.h5) or the folder that a run wrote its checkpoints into");
  }
  return {found.file, train::read_header(world, found.file)};
}

}  // namespace conclave::apps
