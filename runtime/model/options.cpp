// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/options.hpp"

#include <cmath>
#include <tuple>

namespace conclave::model {

std::vector<bool> ModelOptions::moe_blocks() const {
  std::vector<bool> blocks;
  for (Index block = 0; block < layers; ++block) blocks.push_back(is_moe(block));
  return blocks;
}

void describe(ModelOptions& o, OptionTable& table) {
  table.add("layers", o.layers, "Transformer blocks");
  table.add("width", o.width, "features of a token");
  table.add("heads", o.heads, "attention heads; width / heads must be whole and even");
  table.add("context", o.context, "tokens of a sequence");
  table.add("moe_every", o.moe_every, "every n-th block's feed-forward is an MoE layer (GShard: 2); 0: none is");
  table.add("dense_kind", o.dense_kind, "feed-forward of the other blocks");
  table.add("dense_hidden", o.dense_hidden, "their hidden width");
  table.add("tied_head", o.tied_head, "use the embedding's table as the output head");
  table.add("input_map", o.input_map,
            "feature vectors: map them linearly to the width; no: they have as many features as the width");
  table.add("residual", o.residual,
            "feature vectors: a block is x + feed_forward(norm(x)) and a norm comes last; no: a block is "
            "feed_forward(x), and there are no norms");
  table.add("fusion", o.fusion,
            "how the results of a token's experts are combined: the sum weighted by the gates, their mean, their "
            "maximum, or (classification, in the last block) a vote on the class");
  describe(o.router, table);
  describe(o.experts, table);
}

namespace {

void validate_classifier(const ModelOptions& o, ModelKind kind) {
  if (o.tied_head) {
    throw InputError("tied_head = yes with task = classify",
                     "a head over classes has a matrix of its own: leave it out");
  }
  if (kind != ModelKind::feature_classifier) return;
  const ModelOptions defaults;
  for (const auto& [name, value, unset] :
       {std::tuple{"context", o.context, defaults.context}, std::tuple{"heads", o.heads, defaults.heads}}) {
    if (value == unset) continue;
    throw InputError(fmt::format("{} = {} with feature vectors", name, value),
                     fmt::format("a vector of features is no sequence and has no attention: leave {} out", name));
  }
  for (const std::string_view router : {"hash", "rule"}) {
    if (o.moe_every == 0 || o.router.router != router) continue;
    throw InputError(fmt::format("router = {} with feature vectors", router),
                     "it looks at token numbers, which a vector of features does not have: choose another router");
  }
}

void validate_kind(const ModelOptions& o, ModelKind kind) {
  if (kind != ModelKind::language) validate_classifier(o, kind);
  for (const auto& [name, value] : {std::pair{"input_map", o.input_map}, std::pair{"residual", o.residual}}) {
    if (value || kind == ModelKind::feature_classifier) continue;
    throw InputError(fmt::format("{} = no with text", name), "it is for the classification of feature vectors");
  }
  if (o.fusion != Fusion::vote) return;
  if (kind == ModelKind::language) {
    throw InputError("fusion = vote with task = lm", "experts vote on a sample's class: use task = classify");
  }
  if (!o.is_moe(o.layers - 1)) {
    throw InputError(fmt::format("fusion = vote with layers = {} and moe_every = {}", o.layers, o.moe_every),
                     "the experts of the last block vote, so it must be an MoE layer: moe_every divides layers");
  }
  if (o.router.gate_scale < 0.0) {
    throw InputError(fmt::format("fusion = vote with gate_scale = {}", o.router.gate_scale),
                     "a voter's weight cannot be negative: give a gate_scale above 0");
  }
}

}  // namespace

void validate(const ModelOptions& o, ModelKind kind) {
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
  const bool attention = kind != ModelKind::feature_classifier;
  if (attention && (o.width % o.heads != 0 || (o.width / o.heads) % 2 != 0)) {
    throw InputError(fmt::format("width = {} with heads = {}", o.width, o.heads),
                     "width must be a multiple of 2 x heads: rotary positions turn pairs of a head's features");
  }
  if (o.moe_every < 0 || o.moe_every > o.layers) {
    throw InputError(fmt::format("moe_every = {} with layers = {}", o.moe_every, o.layers),
                     "give 1 (every block) up to the number of layers, or 0 for a model without experts");
  }
  validate_kind(o, kind);
  if (o.moe_every != 1 && o.dense_kind != experts::ExpertKind::linear) at_least_one(o.dense_hidden, "dense_hidden");
  if (o.moe_every == 0) return;
  validate(o.router);
  validate(o.experts, o.width);
}

double residual_scale(const ModelOptions& o) {
  return o.residual ? 1.0 / std::sqrt(2.0 * static_cast<double>(o.layers)) : 1.0;
}

MoeShape moe_shape(const ModelOptions& o, Index block) {
  const bool is_last = block == o.layers - 1;
  return {o.width,
          o.router,
          experts::expert_shapes(o.experts, o.width, o.router.experts),
          experts::shared_shapes(o.experts, o.width),
          residual_scale(o),
          o.fusion == Fusion::vote && !is_last ? Fusion::weighted : o.fusion};
}

}  // namespace conclave::model
