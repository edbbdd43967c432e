// SPDX-License-Identifier: BSD-3-Clause
// A model's parameters from tensors in memory, as model_file.hpp has them from a checkpoint.
#pragma once

#include "runtime/model/model.hpp"
#include "runtime/train/checkpoint_contents.hpp"

namespace conclave::train {

/// Gives the model the parameters among `tensors`, which every rank has whole; `file` is where they are from.
/// InputError on every rank if they are of another model, or a value is not finite. Collective.
void load_values(const WholeTensors& tensors, const std::filesystem::path& file, const comm::Communicator& communicator,
                 model::Model<float>& model);

}  // namespace conclave::train
