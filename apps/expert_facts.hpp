// SPDX-License-Identifier: BSD-3-Clause
// What the parameters of a layer's experts tell.
#pragma once

#include "runtime/train/checkpoint_contents.hpp"

#include <string>
#include <vector>

namespace conclave::apps {

/// One expert of an MoE layer.
struct ExpertFacts {
  std::string layer;  // "block/3/moe/"
  ExpertId expert{0};
  double norm = 0.0;         // of all its parameters
  double router_norm = 0.0;  // of its row of the router's matrix; 0 where there is none
  std::vector<double>
      cosines;             // [experts] with each of the layer's, all parameters as one vector; 0 between unlike shapes
  bool has_state = false;  // the file has an optimizer's state of it
  bool is_untouched = false;  // that state is all 0: no gradient has reached it
};

/// Of every expert, block by block.
[[nodiscard]] std::vector<ExpertFacts> expert_facts(const train::WholeTensors& tensors);

/// A line an expert: its norms, the expert that it is most like, and how alike it and the others are on average.
[[nodiscard]] std::string text_of(const std::vector<ExpertFacts>& facts);

}  // namespace conclave::apps
