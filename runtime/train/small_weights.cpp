// SPDX-License-Identifier: BSD-3-Clause
// The pruning of weights by magnitude.
#include "runtime/train/expert_edit.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::train {

void zero_smallest_weights(double part, WholeTensors& tensors) {
  invariant(part >= 0.0 && part <= 1.0, "{} of the weights", part);
  const std::string in_expert = "/moe/expert/";
  std::map<std::string, std::vector<WholeTensor*>> matrices;  // by expert
  for (auto& [name, tensor] : tensors) {
    const std::size_t at = name.find(in_expert);
    if (!name.starts_with(parameter_group) || at == std::string::npos || tensor.shape.size() != 2) continue;
    matrices[name.substr(0, name.find('/', at + in_expert.size()))].push_back(&tensor);
  }
  for (const auto& [expert, all] : matrices) {
    std::vector<float*> weights;
    for (WholeTensor* tensor : all) {
      for (float& value : tensor->values) weights.push_back(&value);
    }
    const auto count = static_cast<std::ptrdiff_t>(part * static_cast<double>(weights.size()));
    std::stable_sort(weights.begin(), weights.end(), [](auto a, auto b) { return std::abs(*a) < std::abs(*b); });
    std::for_each(weights.begin(), weights.begin() + count, [](float* weight) { *weight = 0.0F; });
  }
}

}  // namespace conclave::train
