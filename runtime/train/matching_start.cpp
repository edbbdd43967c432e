// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/replicated_tensors.hpp"
#include "runtime/train/start.hpp"

namespace conclave::train {
namespace {

// "block/3/attention/qkv" of a model of `layers` blocks: the name in one of `source_layers`, the last of as many runs
// of its blocks.
std::string source_name(const std::string& name, Index layers, Index source_layers) {
  const std::string start = "block/";
  if (!name.starts_with(start)) return name;
  const std::size_t end = name.find('/', start.size());
  const Index block = std::stol(name.substr(start.size(), end - start.size()));
  return fmt::format("{}{}{}", start, (block + 1) * source_layers / layers - 1, name.substr(end));
}

}  // namespace

Index take_matching(model::Model<float>& source, model::Model<float>& model) {
  const NamedTensors tensors = replicated_tensors(source);
  const ParameterView<float> values(model.values());
  Index taken = 0;
  for (const ParameterEntry& entry : model.replicated().entries()) {
    const auto found = tensors.find(source_name(entry.name, model.options().layers, source.options().layers));
    const MatrixView<float> to = values.matrix(entry.tensor);
    if (found == tensors.end() || found->second.rows != to.rows || found->second.cols != to.cols) continue;
    copy_values(found->second, to);
    ++taken;
  }
  return taken;
}

}  // namespace conclave::train
