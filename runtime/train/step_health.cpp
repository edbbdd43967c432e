// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/step_health.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::train {

void StepHealth::add_pass(const model::Step& step, std::span<const model::LossSums> losses,
                          const std::vector<const model::MoeLayer<float>*>& layers) {
  for (Index g = 0; g < step.groups.num_groups; ++g) {
    if (!std::isfinite(losses[static_cast<std::size_t>(g)].nats)) group_ = std::min(group_, step.first_group + g);
    for (const model::MoeLayer<float>* layer : layers) {
      const std::optional<TokenId>& token = layer->routed(g).not_finite;
      if (token) router_ = std::min(router_, Routed{layer->layer(), token->value()});
    }
  }
}

std::optional<std::string> StepHealth::router_sentence(const comm::Communicator& communicator) const {
  const Index layer = communicator.min(router_.layer);
  const Index token = communicator.min(router_.layer == layer ? router_.token : none);
  if (layer == none) return std::nullopt;
  return fmt::format("the router's logits of token {} in layer {} are not finite", token, layer);
}

std::vector<std::string> StepHealth::sentences(const comm::Communicator& communicator) const {
  std::vector<std::string> sentences;
  if (const auto of_router = router_sentence(communicator)) sentences.push_back(*of_router);
  const Index group = communicator.min(group_);
  if (group != none) sentences.push_back(fmt::format("the loss of group {} is not finite", group));
  return sentences;
}

}  // namespace conclave::train
