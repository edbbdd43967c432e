// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/model_file.hpp"

#include "runtime/train/agreed.hpp"
#include "runtime/train/checkpoint.hpp"
#include "runtime/train/model_contents.hpp"
#include "runtime/train/not_finite.hpp"

namespace conclave::train {

void add_parts(const std::string& group, const ParameterList& list, const std::vector<HeldValues>& held,
               std::vector<TensorPart>& parts) {
  for (const ParameterEntry& entry : list.entries()) {
    TensorPart part{group + entry.name, entry.shape, {}, nullptr};
    for (const HeldValues& h : held) {
      const Range mine = intersection(entry.tensor.range(), h.range);
      if (mine.empty()) continue;
      invariant(part.data == nullptr, "{} is held in two parts", part.name);
      part.held = {mine.begin - entry.tensor.offset, mine.end - entry.tensor.offset};
      part.data = h.values.data() + (mine.begin - h.range.begin);
    }
    parts.push_back(std::move(part));
  }
}

std::vector<ReplicatedValues> replicated_values(model::Model<float>& model) {
  std::vector<ReplicatedValues> all{{&model.replicated(), model.values()}};
  for (model::MoeLayer<float>* layer : model.moe_layers()) {
    if (layer->base().size() > 0) all.push_back({&layer->base(), layer->shard().base_values()});
  }
  return all;
}

std::vector<TensorPart> value_parts(model::Model<float>& model, const comm::Communicator& communicator,
                                    const std::vector<std::vector<Range>>& slices) {
  const std::vector<ReplicatedValues> replicated = replicated_values(model);
  invariant(slices.size() == replicated.size(), "{} slices of {} replicated arrays", slices.size(), replicated.size());
  std::vector<TensorPart> parts;
  for (std::size_t i = 0; i < slices.size(); ++i) {
    std::vector<HeldValues> held;
    for (const Range slice : slices[i]) {
      held.push_back({slice, replicated[i].values.subspan(static_cast<std::size_t>(slice.begin),
                                                          static_cast<std::size_t>(slice.size()))});
    }
    add_parts("/params/", *replicated[i].list, held, parts);
  }
  for (model::MoeLayer<float>* layer : model.moe_layers()) {
    LocalExpertId next{0};
    for (ExpertId e; e < ExpertId{layer->map().num_experts()}; ++e) {
      const ParameterList list = layer->expert_parameters(e);
      const bool is_here = next < LocalExpertId{layer->shard().num_experts()} && layer->shard().global(next) == e;
      if (is_here && layer->shard().is_home(next)) {
        add_parts("/params/", list, {{{0, list.size()}, layer->shard().values(next)}}, parts);
      } else {
        add_parts("/params/", list, {}, parts);
      }
      if (is_here) ++next;
    }
    const std::span<float> bias = layer->selection_bias();
    if (bias.empty()) continue;
    const auto size = static_cast<Index>(bias.size());
    parts.push_back(
        {"/params/" + layer->prefix() + "selection_bias", {size}, {0, communicator.is_root() ? size : 0}, bias.data()});
  }
  return parts;
}

namespace {

/// read(parts) gives the parts their values. Collective.
template <class Read>
void load(const std::filesystem::path& file, const comm::Communicator& communicator, model::Model<float>& model,
          const Read& read) {
  const std::vector<ReplicatedValues> replicated = replicated_values(model);
  std::vector<std::vector<Range>> slices;
  for (const ReplicatedValues& r : replicated) slices.push_back({{0, communicator.is_root() ? r.list->size() : 0}});
  const std::vector<TensorPart> parts = value_parts(model, communicator, slices);
  read(parts);
  refuse_not_finite(communicator, file, parts);
  for (const ReplicatedValues& r : replicated) communicator.broadcast(r.values);
  for (model::MoeLayer<float>* layer : model.moe_layers()) {
    communicator.broadcast(layer->selection_bias());
    layer->share_values();
  }
}

}  // namespace

void load_values(const std::filesystem::path& checkpoint, const comm::Communicator& communicator,
                 model::Model<float>& model) {
  load(checkpoint, communicator, model,
       [&](const std::vector<TensorPart>& parts) { read_tensors(communicator, checkpoint, parts); });
}

void load_values(const WholeTensors& tensors, const std::filesystem::path& file, const comm::Communicator& communicator,
                 model::Model<float>& model) {
  load(file, communicator, model, [&](const std::vector<TensorPart>& parts) {
    agreed(communicator, [&] { fill(tensors, parameter_group, parts, file); });
  });
}

}  // namespace conclave::train
