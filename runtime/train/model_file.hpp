// SPDX-License-Identifier: BSD-3-Clause
// A model's parameters as named tensors of a checkpoint.
#pragma once

#include "runtime/model/model.hpp"
#include "runtime/train/tensor_file.hpp"

#include <filesystem>

namespace conclave::train {

/// The values at some positions of a list's flat array.
struct HeldValues {
  Range range;
  std::span<float> values;  // [range.size()]
};

/// Adds a part for every tensor of `list`, named "<group><tensor's name>": what this rank holds of it. No tensor has
/// elements in two of `held`; there may be none.
void add_parts(const std::string& group, const ParameterList& list, const std::vector<HeldValues>& held,
               std::vector<TensorPart>& parts);

/// A flat array of parameters that every rank has whole.
struct ReplicatedValues {
  const ParameterList* list = nullptr;
  std::span<float> values;
};

/// All of a model's: its own replicated parameters first, then the base that experts share of each layer that has one.
[[nodiscard]] std::vector<ReplicatedValues> replicated_values(model::Model<float>& model);

/// Every tensor of the model under "/params/", over all ranks: of the i-th of replicated_values() this rank holds the
/// positions slices[i], no two of them in one tensor; of the experts those that are at home here; of selection biases
/// all of it on the root. Parts refer to the model.
[[nodiscard]] std::vector<TensorPart> value_parts(model::Model<float>& model, const comm::Communicator& communicator,
                                                  const std::vector<std::vector<Range>>& slices);

/// Gives the model the parameters of a checkpoint, whatever number of ranks wrote it. InputError on every rank if the
/// file is damaged or of another model, or a value is not finite. Collective.
void load_values(const std::filesystem::path& checkpoint, const comm::Communicator& communicator,
                 model::Model<float>& model);

}  // namespace conclave::train
