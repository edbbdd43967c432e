// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/checkpoint_contents.hpp"

#include <algorithm>

namespace conclave::train {

CheckpointContents read_contents(const std::filesystem::path& path) {
  const Hdf5File file = open_checkpoint(path);
  CheckpointContents contents{load_header(file), {}};
  for (const std::string& group : file.members("/")) {
    if (is_header_group("/" + group)) continue;
    for (const std::string& name : file.datasets("/" + group)) {
      WholeTensor tensor{file.shape(name), file.read<float>(name)};
      if (tensor_checksum(tensor.values, 0) != file.attribute<std::uint64_t>(name, "checksum")) {
        throw InputError(
            fmt::format("'{}' is damaged: the values of {} do not match their checksum", path.string(), name),
            "use an earlier checkpoint");
      }
      contents.tensors[name] = std::move(tensor);
    }
  }
  return contents;
}

std::vector<TensorPart> parts_of(WholeTensors& tensors) {
  std::vector<TensorPart> parts;
  for (auto& [name, tensor] : tensors) {
    parts.push_back({name, tensor.shape, {0, std::ssize(tensor.values)}, tensor.values.data()});
  }
  return parts;
}

namespace {

/// What the tensors of a group and the expected ones differ in, a line each.
std::vector<std::string> differences(const WholeTensors& found, const std::string& group,
                                     std::span<const TensorPart> expected) {
  constexpr std::size_t most = 20;
  std::vector<std::string> lines;
  std::map<std::string, const TensorPart*> by_name;
  for (const TensorPart& part : expected) by_name[part.name] = &part;
  for (const auto& [name, part] : by_name) {
    const auto tensor = found.find(name);
    if (tensor == found.end()) {
      lines.push_back(fmt::format("{} [{}] is missing", name, fmt::join(part->shape, " x ")));
    } else if (tensor->second.shape != part->shape) {
      lines.push_back(fmt::format("{} is [{}], it should be [{}]", name, fmt::join(tensor->second.shape, " x "),
                                  fmt::join(part->shape, " x ")));
    }
  }
  for (const auto& [name, tensor] : found) {
    if (name.starts_with(group) && !by_name.contains(name))
      lines.push_back(fmt::format("{} is not of this model", name));
  }
  if (lines.size() > most) {
    const std::size_t more = lines.size() - most;
    lines.resize(most);
    lines.push_back(fmt::format("and {} more", more));
  }
  return lines;
}

}  // namespace

void fill(const WholeTensors& tensors, const std::string& group, std::span<const TensorPart> parts,
          const std::filesystem::path& file) {
  const std::vector<std::string> lines = differences(tensors, group, parts);
  if (!lines.empty()) {
    throw InputError(
        fmt::format("'{}' does not hold the tensors of this model:\n  {}", file.string(), fmt::join(lines, "\n  ")),
        "use a file of this model, or give the options of the model that it is of");
  }
  for (const TensorPart& part : parts) {
    const std::vector<float>& values = tensors.at(part.name).values;
    std::copy(values.begin() + part.held.begin, values.begin() + part.held.end, part.data);
  }
}

}  // namespace conclave::train
