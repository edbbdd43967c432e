// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "runtime/model/model.hpp"

#include <vector>

namespace conclave::train {

/// Samples side by side as a model takes them (model::BatchView).
struct Batch {
  std::vector<std::int32_t> tokens;   // [samples * tokens in a sample]; of feature vectors all 0
  std::vector<std::int32_t> targets;  // [samples * context] the tokens that follow or no_target; or [samples] classes
  std::vector<std::int32_t> lengths;  // [samples] tokens that count, of texts with a class; else empty
  std::vector<std::int32_t> domains;  // [samples * tokens in a sample] or empty: the data has no known domains
  std::vector<float> features;        // [samples, num_features], or empty
  Index num_features = 0;

  void clear() {
    tokens.clear();
    targets.clear();
    lengths.clear();
    domains.clear();
    features.clear();
  }
  [[nodiscard]] model::BatchView<float> view() const {
    const Index rows = num_features == 0 ? 0 : static_cast<Index>(features.size()) / num_features;
    return {tokens, targets, lengths, {features.data(), rows, num_features, num_features}};
  }
};

}  // namespace conclave::train
