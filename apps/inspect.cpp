// SPDX-License-Identifier: BSD-3-Clause
// The command `inspect`: what is in a checkpoint.
#include "apps/command.hpp"
#include "apps/train_options.hpp"
#include "runtime/train/agreed.hpp"

#include <functional>

namespace conclave::apps {
namespace {

struct InspectOptions {
  std::string checkpoint;
  bool tensors = false;
  bool digests = false;
};

void describe(InspectOptions& o, OptionSections& sections) {
  OptionTable& table = sections.section("Inspection");
  table.add("checkpoint", o.checkpoint, "a checkpoint, or a folder of them: the newest");
  table.add("tensors", o.tensors, "list every tensor with its shape");
  table.add("digests", o.digests, "read every tensor and print a digest of its bits, and one of all");
}

/// A tensor of the file, read whole.
struct StoredTensor {
  std::string name;
  std::vector<Index> shape;
};

void list_tensors(const train::Hdf5File& file, const std::string& group, std::vector<StoredTensor>& tensors) {
  for (const std::string& member : file.members(group)) {
    const std::string path = group + "/" + member;
    if (file.is_group(path)) {
      list_tensors(file, path, tensors);
    } else {
      tensors.push_back({path, file.shape(path)});
    }
  }
}

void print_header(const OpenedCheckpoint& opened) {
  fmt::print("file {}\n", opened.file.string());
  for (const auto& [name, value] : opened.header.integers) fmt::print("  {:<28}{}\n", name, value);
  for (const auto& [name, value] : opened.header.record) fmt::print("  {:<28}{}\n", name, value);
  for (const auto& [name, value] : opened.header.config) fmt::print("  --{:<26}{}\n", name, value);
}

// Each tensor's digest, and all tensors' together.
void print_digests(const std::filesystem::path& path, const std::vector<StoredTensor>& tensors) {
  const train::Hdf5File file = train::Hdf5File::open(path);
  std::uint64_t all = 0;
  for (const StoredTensor& tensor : tensors) {
    const std::uint64_t digest = train::tensor_checksum(file.read<float>(tensor.name), 0);
    if (digest != file.attribute<std::uint64_t>(tensor.name, "checksum")) {
      throw InputError(
          fmt::format("'{}' is damaged: the values of {} do not match their checksum", path.string(), tensor.name),
          "use an earlier checkpoint");
    }
    fmt::print("{:016x}  {}  [{}]\n", digest, tensor.name, fmt::join(tensor.shape, " x "));
    all += digest * (2 * std::hash<std::string>{}(tensor.name) + 1);
  }
  fmt::print("{:016x}  all {} tensors\n", all, tensors.size());
}

int run(const InspectOptions& o, const Session& session) {
  if (o.checkpoint.empty()) {
    throw InputError("no checkpoint was named", "give --checkpoint a file or the folder that a run wrote into");
  }
  const OpenedCheckpoint opened = open_checkpoint(session.world, o.checkpoint);
  train::on_root(session.world, [&] {
    std::vector<StoredTensor> tensors;
    {
      const train::Hdf5File file = train::Hdf5File::open(opened.file);
      for (const std::string group : {"/params", "/optimizer"}) list_tensors(file, group, tensors);
    }
    if (o.digests) {
      fmt::print("file {}\n", opened.file.string());
      print_digests(opened.file, tensors);
      return;
    }
    print_header(opened);
    Index elements = 0;
    for (const StoredTensor& tensor : tensors) {
      elements += train::num_elements(tensor.shape);
      if (o.tensors) fmt::print("  {:<60}[{}]\n", tensor.name, fmt::join(tensor.shape, " x "));
    }
    fmt::print("  {} tensors, {} numbers\n", tensors.size(), elements);
  });
  return 0;
}

}  // namespace

Command inspect_command() {
  return make_command<InspectOptions>("inspect", "what is in a checkpoint: options, record, tensors and their digests",
                                      "", describe, run);
}

}  // namespace conclave::apps
