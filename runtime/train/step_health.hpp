// SPDX-License-Identifier: BSD-3-Clause
// Whether what this rank's groups came to in a step is finite.
#pragma once

#include "runtime/model/loss.hpp"
#include "runtime/model/moe_layer.hpp"

#include <limits>
#include <optional>
#include <string>

namespace conclave::train {

/// Costs a look at a few numbers a group.
class StepHealth {
 public:
  /// Looks at what the last pass left: the losses of this rank's groups, and what routers noted.
  void add_pass(const model::Step& step, std::span<const model::LossSums> losses,
                const std::vector<const model::MoeLayer<float>*>& layers);
  /// Whether all was finite since forget().
  [[nodiscard]] bool is_sound() const { return group_ == none && router_.layer == none; }
  /// What was not, over all ranks: "the router's logits of token 12 in layer 3 are not finite", then "the loss of group
  /// 2 is not finite", each of the first such; may be empty. The same on any number of ranks. Collective.
  [[nodiscard]] std::vector<std::string> sentences(const comm::Communicator& communicator) const;
  /// Its first alone: what routers noted. Collective.
  [[nodiscard]] std::optional<std::string> router_sentence(const comm::Communicator& communicator) const;
  void forget() { *this = {}; }

 private:
  static constexpr Index none = std::numeric_limits<Index>::max();
  struct Routed {
    Index layer = none;
    Index token = none;
    friend auto operator<=>(const Routed&, const Routed&) = default;
  };
  Index group_ = none;  // the first of this rank's whose loss is not finite
  Routed router_;       // the first whose logits are not
};

}  // namespace conclave::train
