// SPDX-License-Identifier: BSD-3-Clause
// The command `inspect`: what is in a checkpoint.
#include "apps/changed_model.hpp"
#include "apps/command.hpp"
#include "apps/expert_facts.hpp"
#include "apps/inspect_routing.hpp"
#include "apps/train_options.hpp"
#include "runtime/train/agreed.hpp"
#include "runtime/train/checkpoint_folder.hpp"

#include <algorithm>
#include <functional>

namespace conclave::apps {
namespace {

struct InspectOptions {
  std::string checkpoint;
  std::string verify;
  bool tensors = false;
  bool digests = false;
  bool experts = false;
  bool routing = false;
  InspectRoutingOptions of_routing;
};

void describe(InspectOptions& o, OptionSections& sections) {
  OptionTable& table = sections.section("Inspection");
  table.add("checkpoint", o.checkpoint, "a checkpoint, or a folder of them: the newest");
  table.add("verify", o.verify,
            "instead: read a checkpoint, or all of a folder, and compare every checksum; a line each");
  table.add("tensors", o.tensors, "list every tensor with its shape");
  table.add("digests", o.digests, "read every tensor and print a digest of its bits, and one of all");
  table.add("experts", o.experts,
            "of every expert the norms, the one that it is most like (the cosine of all parameters), and whether no "
            "gradient has ever reached it");
  table.add("routing", o.routing,
            "of every MoE layer which experts serve which bytes and domains of held-out data, and how much an expert "
            "tells about them [bits]");
  describe(o.of_routing, table);
}

/// A tensor of the file, read whole.
struct StoredTensor {
  std::string name;
  std::vector<Index> shape;
};

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

// The checkpoint, or those of a folder, oldest first. InputError on every rank if there is none. Collective.
std::vector<std::string> checkpoints_of(const comm::Communicator& world, const std::filesystem::path& file_or_folder) {
  std::vector<std::string> files;
  train::on_root(world, [&] {
    if (std::filesystem::is_directory(file_or_folder)) {
      for (const train::StoredStep& stored : train::stored_steps(file_or_folder)) files.push_back(stored.file.string());
      std::reverse(files.begin(), files.end());
    } else {
      files.push_back(file_or_folder.string());
    }
    if (files.empty()) {
      throw InputError(fmt::format("there is no checkpoint in '{}'", file_or_folder.string()),
                       "name a checkpoint (step-NNNNNNNN.h5) or the folder that a run wrote its checkpoints into");
    }
  });
  files.resize(static_cast<std::size_t>(world.max(std::ssize(files))));
  for (std::string& file : files) file = world.broadcast(file);
  return files;
}

// A line for each checkpoint; 1 if any is damaged.
int verify(const std::string& file_or_folder, const comm::Communicator& world) {
  int exit_code = 0;
  for (const std::string& file : checkpoints_of(world, file_or_folder)) {
    std::string line;
    const train::Failure failure = train::failure_of([&] {
      const train::TensorTotals totals = train::verify_checkpoint(world, file);
      line = fmt::format("sound    {}: {} tensors, {} numbers", file, totals.tensors, totals.elements);
    });
    if (!failure.message.empty()) {
      exit_code = 1;
      line = fmt::format("damaged  {}: {}", file, failure.message);
      std::replace(line.begin(), line.end(), '\n', ' ');
    }
    if (world.is_root()) fmt::print("{}\n", line);
  }
  return exit_code;
}

int run(const InspectOptions& o, const Session& session) {
  if (!o.verify.empty()) {
    if (session.given.size() > 1) throw InputError("verify stands alone", "give the other options in another call");
    return verify(o.verify, session.world);
  }
  if (o.checkpoint.empty()) {
    throw InputError("no checkpoint was named",
                     "give --checkpoint (or --verify) a file or the folder that a run wrote into");
  }
  if (o.routing) {
    if (o.tensors || o.digests || o.experts) {
      throw InputError("routing stands alone", "ask for tensors, digests and experts in another call");
    }
    inspect_routing(o.of_routing, o.checkpoint, session);
    return 0;
  }
  for (const std::string name : {"data", "sequences", "sentence", "html"}) {
    if (session.given.contains(name)) throw InputError(fmt::format("{} without routing", name), "add --routing");
  }
  const OpenedCheckpoint opened = open_checkpoint(session.world, o.checkpoint);
  train::on_root(session.world, [&] {
    std::vector<StoredTensor> tensors;
    {
      const train::Hdf5File file = train::Hdf5File::open(opened.file);
      for (const std::string group : {"/params", "/optimizer"}) {
        for (const std::string& path : file.datasets(group)) tensors.push_back({path, file.shape(path)});
      }
    }
    if (o.digests) {
      fmt::print("file {}\n", opened.file.string());
      print_digests(opened.file, tensors);
      return;
    }
    if (o.experts) {
      fmt::print("file {}\n", opened.file.string());
      const train::CheckpointContents contents = train::read_contents(opened.file);
      fmt::print("{}", text_of(expert_facts(contents.tensors)));
      return;
    }
    print_header(opened);
    Index elements = 0;
    std::map<std::string, std::vector<Index>> shapes;
    for (const StoredTensor& tensor : tensors) {
      elements += train::num_elements(tensor.shape);
      shapes[tensor.name] = tensor.shape;
      if (o.tensors) fmt::print("  {:<60}[{}]\n", tensor.name, fmt::join(tensor.shape, " x "));
    }
    fmt::print("  {} tensors, {} numbers\n", tensors.size(), elements);
    const ParameterCounts counts = parameter_counts(shapes, train::model_options(opened.header));
    fmt::print("  {} parameters, of which a token passes {:.0f}\n", counts.total, counts.active);
  });
  return 0;
}

}  // namespace

Command inspect_command() {
  return make_command<InspectOptions>(
      "inspect",
      "what is in a checkpoint (options, record, tensors, digests), who serves what, and whether it is sound", "",
      describe, run);
}

}  // namespace conclave::apps
