// SPDX-License-Identifier: BSD-3-Clause
// The command `import`: safetensors files as a checkpoint.
#include "apps/command_line.hpp"
#include "apps/config_file.hpp"
#include "apps/loaded_model.hpp"
#include "apps/model_commands.hpp"
#include "apps/one_rank.hpp"
#include "apps/run_folder.hpp"
#include "runtime/train/checkpoint_draft.hpp"
#include "runtime/train/model_contents.hpp"
#include "runtime/train/safetensors_model.hpp"

namespace conclave::apps {
namespace {

namespace fs = std::filesystem;

struct ImportOptions {
  std::string file;
  std::string out;
  std::string options;
};

void describe(ImportOptions& o, OptionSections& sections) {
  OptionTable& table = sections.section("Import");
  table.add("file", o.file,
            "a file that ends in .safetensors, or the index of several (.safetensors.index.json); e.g. --file "
            "m.safetensors --out run2");
  table.add("out", o.out, "the folder to write the checkpoint into");
  table.add("options", o.options,
            "where the file does not tell the options of its model: a file with them, as a run's config.ini");
}

// What a file of another program does not tell of a language model.
train::CheckpointHeader header_from(const std::string& path, const train::WholeTensors& tensors) {
  train::TrainOptions options;
  OptionSections sections;
  describe_training(options, sections);
  const ConfigFile file(path, read_file(path), sections);
  for (const ConfigValue& value : file.values()) {
    if (!value.option->assign(value.text)) {
      throw InputError(fmt::format("{} cannot be '{}'", value.where, value.text),
                       fmt::format("it takes {}", value.option->accepts));
    }
  }
  if (options.task != train::Task::lm) {
    throw InputError("options of a classifier, for a file that does not name its classes",
                     "such a file can be of a language model only (task = lm)");
  }
  const auto embedding = tensors.find(train::parameter_group + "embedding");
  if (embedding == tensors.end() || embedding->second.shape.size() != 2) {
    throw InputError("the file has no matrix 'embedding'", "README names the tensors of a model");
  }
  train::CheckpointHeader header;
  header.config = option_values(options);
  header.integers = {{"step", 0},
                     {"sequences_seen", 0},
                     {"tokens_seen", 0},
                     {"seed", options.seed},
                     {"vocabulary", embedding->second.shape[0]}};
  return header;
}

// The states of the run's optimizer, all or none of them: as its parameters.
void check_optimizer(const LoadedModel& loaded, const train::CheckpointContents& contents, const fs::path& file) {
  train::WholeTensors expected;
  for (const auto& [name, tensor] : contents.tensors) {
    if (!train::is_trained(name)) continue;
    const std::string path = name.substr(train::parameter_group.size());
    for (const std::string& state : train::make_optimizer(loaded.options.optimizer)->states()) {
      expected[train::optimizer_group + state + "/" + path] = tensor;
    }
  }
  train::fill(contents.tensors, train::optimizer_group, train::parts_of(expected), file);
}

int run_import(const ImportOptions& o, const Session& session) {
  require_one_rank(session, "import");
  if (!train::is_safetensors(o.file)) {
    throw InputError(fmt::format("file = '{}'", o.file),
                     "name a file that ends in .safetensors, or the index of several, .safetensors.index.json");
  }
  if (o.out.empty()) throw InputError("no folder was named", "give --out a folder for the checkpoint");
  train::CheckpointContents contents = train::read_safetensors_model(o.file);
  if (contents.header.config.empty() == o.options.empty()) {
    throw InputError(o.options.empty() ? fmt::format("'{}' does not tell the options of its model", o.file)
                                       : fmt::format("options = '{}' for a file that tells its own", o.options),
                     o.options.empty() ? "give a file with them: --options config.ini" : "leave --options out");
  }
  if (!o.options.empty()) contents.header = header_from(o.options, contents.tensors);
  LoadedModel loaded = model_of(session, {o.file, contents.header}, -1.0, {}, "");
  train::load_values(contents.tensors, o.file, session.world, *loaded.model);
  const bool has_states =
      contents.tensors.upper_bound(train::optimizer_group) != contents.tensors.end() &&
      contents.tensors.upper_bound(train::optimizer_group)->first.starts_with(train::optimizer_group);
  if (has_states) check_optimizer(loaded, contents, o.file);
  if (loaded.step < 0) throw InputError(fmt::format("a model after step {}", loaded.step), "steps count from 0");
  loaded.options.out = o.out;
  refuse_used_folder(session.world, loaded.options, {});
  const fs::path file = train::write_checkpoint(session.world, o.out, loaded.step, {}, contents.header,
                                                train::parts_of(contents.tensors));
  fmt::print("wrote {}: {} tensors, after step {}{}\n", file.string(), contents.tensors.size(), loaded.step,
             has_states ? "" : "; without the optimizer's state: go on with train --init-from");
  return 0;
}

}  // namespace

Command import_command() {
  return make_command<ImportOptions>("import", "a checkpoint from safetensors files", "", describe, run_import);
}

}  // namespace conclave::apps
