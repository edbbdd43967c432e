// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/model_file.hpp"

#include "runtime/train/checkpoint.hpp"

namespace conclave::train {

void add_parts(const std::string& group, const ParameterList& list, Range range, std::span<float> flat,
               std::vector<TensorPart>& parts) {
  for (const ParameterEntry& entry : list.entries()) {
    const Range mine = intersection(entry.tensor.range(), range);
    TensorPart part{group + entry.name, entry.shape, {}, nullptr};
    if (!mine.empty()) {
      part.held = {mine.begin - entry.tensor.offset, mine.end - entry.tensor.offset};
      part.data = flat.data() + (mine.begin - range.begin);
    }
    parts.push_back(std::move(part));
  }
}

std::vector<TensorPart> value_parts(model::Model<float>& model, const comm::Communicator& communicator, Range slice) {
  std::vector<TensorPart> parts;
  const std::span<float> held =
      model.values().subspan(static_cast<std::size_t>(slice.begin), static_cast<std::size_t>(slice.size()));
  add_parts("/params/", model.replicated(), slice, held, parts);
  for (model::MoeLayer<float>* layer : model.moe_layers()) {
    LocalExpertId next{0};
    for (Index e = 0; e < layer->map().num_experts(); ++e) {
      const ParameterList list = layer->expert_parameters(ExpertId{e});
      if (layer->map().owner(ExpertId{e}) == communicator.rank()) {
        add_parts("/params/", list, {0, list.size()}, layer->shard().values(next), parts);
        ++next;
      } else {
        add_parts("/params/", list, {}, {}, parts);
      }
    }
    const std::span<float> bias = layer->selection_bias();
    if (bias.empty()) continue;
    const auto size = static_cast<Index>(bias.size());
    parts.push_back(
        {"/params/" + layer->prefix() + "selection_bias", {size}, {0, communicator.is_root() ? size : 0}, bias.data()});
  }
  return parts;
}

void load_values(const std::filesystem::path& checkpoint, const comm::Communicator& communicator,
                 model::Model<float>& model) {
  const Index whole = model.replicated().size();
  read_tensors(communicator, checkpoint, value_parts(model, communicator, {0, communicator.is_root() ? whole : 0}));
  communicator.broadcast(model.values());
  for (model::MoeLayer<float>* layer : model.moe_layers()) communicator.broadcast(layer->selection_bias());
}

}  // namespace conclave::train
