// SPDX-License-Identifier: BSD-3-Clause
// The replicated parameters of a model by their names, for what takes them from one model into another.
#pragma once

#include "runtime/model/model.hpp"

#include <map>

namespace conclave::train {

using NamedTensors = std::map<std::string, ConstMatrixView<float>>;  // a vector is one row

/// They refer to the model's values.
[[nodiscard]] inline NamedTensors replicated_tensors(model::Model<float>& model) {
  const ParameterView<const float> values{std::span<const float>(model.values())};
  NamedTensors tensors;
  for (const ParameterEntry& entry : model.replicated().entries()) tensors[entry.name] = values.matrix(entry.tensor);
  return tensors;
}

/// to = from, of one shape.
inline void copy_values(ConstMatrixView<float> from, MatrixView<float> to) {
  invariant(from.rows == to.rows && from.cols == to.cols, "[{}, {}] copied into [{}, {}]", from.rows, from.cols,
            to.rows, to.cols);
  for (Index i = 0; i < to.rows; ++i) std::ranges::copy(from.row(i), to.row(i).begin());
}

}  // namespace conclave::train
