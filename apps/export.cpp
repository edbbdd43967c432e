// SPDX-License-Identifier: BSD-3-Clause
// The command `export`: a checkpoint as safetensors files.
#include "apps/memory.hpp"
#include "apps/model_commands.hpp"
#include "apps/one_rank.hpp"
#include "apps/train_options.hpp"
#include "runtime/core/parse_number.hpp"
#include "runtime/train/safetensors_model.hpp"

namespace conclave::apps {
namespace {

namespace fs = std::filesystem;

struct ExportOptions {
  std::string checkpoint;
  std::string out;
  std::string shard_size = "0";
  bool optimizer = false;
};

void describe(ExportOptions& o, OptionSections& sections) {
  OptionTable& table = sections.section("Export");
  table.add("checkpoint", o.checkpoint, "a checkpoint, or a folder of them: the newest");
  table.add("out", o.out,
            "the file to write, its name ending in .safetensors; e.g. --checkpoint run --out m.safetensors");
  table.add("shard_size", o.shard_size,
            "bytes of tensors in a file, such as 2GB or 500MiB: more make several files and an index; 0: one file");
  table.add("optimizer", o.optimizer, "with the optimizer's state, so that the imported run can be resumed");
}

// "2GB", "500MiB", "4096"
Index bytes_named(const std::string& text) {
  static const std::vector<std::pair<std::string_view, double>> units{
      {"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"", 1.0}};
  for (const auto& [unit, bytes] : units) {
    if (!text.ends_with(unit)) continue;
    const auto number = parse_number<double>(std::string_view(text).substr(0, text.size() - unit.size()));
    if (number && *number >= 0.0 && *number * bytes < 1e18) return static_cast<Index>(*number * bytes);
    break;
  }
  throw InputError(fmt::format("shard_size = {}", text), "give bytes, or a number with KB, MB, GB, KiB, MiB or GiB");
}

int run_export(const ExportOptions& o, const Session& session) {
  require_one_rank(session, "export");
  const Index shard_bytes = bytes_named(o.shard_size);
  if (!fs::path(o.out).filename().string().ends_with(".safetensors")) {
    throw InputError(fmt::format("out = '{}'", o.out), "name a file that ends in .safetensors");
  }
  const OpenedCheckpoint opened = open_checkpoint(session.world, o.checkpoint);
  train::CheckpointContents contents = train::read_contents(opened.file);
  if (!o.optimizer) {
    std::erase_if(contents.tensors, [](const auto& entry) { return !entry.first.starts_with(train::parameter_group); });
  }
  const auto files = train::write_safetensors_model(contents, o.out, train::WeightType::f32, shard_bytes);
  for (const fs::path& file : files) {
    fmt::print("wrote {}, {}\n", file.string(), bytes_text(static_cast<double>(fs::file_size(file))));
  }
  return 0;
}

}  // namespace

Command export_command() {
  return make_command<ExportOptions>("export", "a checkpoint as safetensors files, for other programs", "", describe,
                                     run_export);
}

}  // namespace conclave::apps
