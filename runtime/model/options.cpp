// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/options.hpp"

#include <cmath>

namespace conclave::model {

void describe(ModelOptions& o, OptionTable& table) {
  table.add("layers", o.layers, "Transformer blocks");
  table.add("width", o.width, "features of a token");
  table.add("heads", o.heads, "attention heads; width / heads must be whole and even");
  table.add("context", o.context, "tokens of a sequence");
  table.add("moe_every", o.moe_every, "every n-th block's feed-forward is an MoE layer (GShard: 2); 0: none is");
  table.add("dense_kind", o.dense_kind, "feed-forward of the other blocks");
  table.add("dense_hidden", o.dense_hidden, "their hidden width");
  table.add("tied_head", o.tied_head, "use the embedding's table as the output head");
  table.add(
      "fusion", o.fusion,
      "how the results of a token's experts are combined: the sum weighted by the gates, their mean, or their maximum");
  describe(o.router, table);
  describe(o.experts, table);
}

void validate(const ModelOptions& o) {
  const auto at_least_one = [](Index value, std::string_view name) {
    if (value < 1) throw InputError(fmt::format("{} = {}", name, value), "give at least 1");
    if (value > largest_size) {
      throw InputError(fmt::format("{} = {}", name, value), fmt::format("give at most {}", largest_size));
    }
  };
  at_least_one(o.layers, "layers");
  at_least_one(o.width, "width");
  at_least_one(o.heads, "heads");
  at_least_one(o.context, "context");
  if (o.width % o.heads != 0 || (o.width / o.heads) % 2 != 0) {
    throw InputError(fmt::format("width = {} with heads = {}", o.width, o.heads),
                     "width must be a multiple of 2 x heads: rotary positions turn pairs of a head's features");
  }
  if (o.moe_every < 0 || o.moe_every > o.layers) {
    throw InputError(fmt::format("moe_every = {} with layers = {}", o.moe_every, o.layers),
                     "give 1 (every block) up to the number of layers, or 0 for a model without experts");
  }
  if (o.moe_every != 1 && o.dense_kind != experts::ExpertKind::linear) at_least_one(o.dense_hidden, "dense_hidden");
  if (o.moe_every == 0) return;
  validate(o.router);
  validate(o.experts, o.width);
}

double residual_scale(const ModelOptions& o) { return 1.0 / std::sqrt(2.0 * static_cast<double>(o.layers)); }

MoeShape moe_shape(const ModelOptions& o) {
  return {o.width,
          o.router,
          experts::expert_shapes(o.experts, o.width, o.router.experts),
          experts::shared_shapes(o.experts, o.width),
          residual_scale(o),
          o.fusion};
}

}  // namespace conclave::model
