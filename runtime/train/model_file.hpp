// SPDX-License-Identifier: BSD-3-Clause
// A model's parameters as named tensors of a checkpoint.
#pragma once

#include "runtime/model/model.hpp"
#include "runtime/train/tensor_file.hpp"

#include <filesystem>

namespace conclave::train {

/// Adds a part for every tensor of `list`, named "<group><tensor's name>": the elements of `flat`, which holds the
/// positions `range` of the list's flat array. `flat` may be empty with an empty range: then this rank holds nothing.
void add_parts(const std::string& group, const ParameterList& list, Range range, std::span<float> flat,
               std::vector<TensorPart>& parts);

/// Every tensor of the model under "/params/", over all ranks: of the replicated ones this rank holds the positions
/// `slice` of the flat array; of the experts its own; of selection biases all of it on the root. Parts refer to the
/// model.
[[nodiscard]] std::vector<TensorPart> value_parts(model::Model<float>& model, const comm::Communicator& communicator,
                                                  Range slice);

/// Gives the model the parameters of a checkpoint, whatever number of ranks wrote it. InputError on every rank if the
/// file is damaged or of another model. Collective.
void load_values(const std::filesystem::path& checkpoint, const comm::Communicator& communicator,
                 model::Model<float>& model);

}  // namespace conclave::train
