// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/start.hpp"

#include <cmath>

namespace conclave::train {

using model::ModelOptions;

void describe(StartOptions& o, OptionTable& table) {
  table.add("init_from", o.init_from,
            "begin at the parameters of a checkpoint of the same model, or of the newest one in a folder");
  table.add("init_matching", o.init_matching,
            "init_from is another model, of which this one takes what both have in one shape (attention, embedding, "
            "norms); the rest begins at drawn values. Of more layers it takes blocks at even distances");
  table.add("upcycle", o.upcycle,
            "init_from is a model without experts (moe_every = 0): each block's feed-forward becomes all its experts");
  table.add("upcycle_noise", o.upcycle_noise,
            "deviation of the noise on the experts' copies, as a part of each tensor's root mean square");
  table.add("upcycle_split", o.upcycle_split,
            "cut the feed-forward into that many narrower experts; expert e takes slice e mod upcycle_split");
}

namespace {

void validate_upcycling(const StartOptions& o, const ModelOptions& model) {
  if (!std::isfinite(o.upcycle_noise) || o.upcycle_noise < 0.0) {
    throw InputError(fmt::format("upcycle_noise = {}", o.upcycle_noise), "give 0 or a positive number");
  }
  if (o.upcycle_split < 1) {
    throw InputError(fmt::format("upcycle_split = {}", o.upcycle_split), "give 1 (whole experts) or more");
  }
  if (model.moe_every == 0) {
    throw InputError("upcycle with moe_every = 0: there are no experts to fill", "give moe_every = 1 or more");
  }
  if (model.experts.shared_experts > 0) {
    throw InputError(fmt::format("upcycle with shared_experts = {}", model.experts.shared_experts),
                     "a feed-forward becomes the routed experts: use shared_experts = 0");
  }
  if (model.router.experts % o.upcycle_split != 0) {
    throw InputError(fmt::format("upcycle_split = {} with experts = {}", o.upcycle_split, model.router.experts),
                     "experts must be a multiple of it, so that every slice has as many");
  }
  if (model.experts.expert_sharing == experts::ExpertSharing::none) return;
  if (o.upcycle_split > 1) {
    throw InputError(fmt::format("upcycle_split = {} with expert_sharing = base+delta", o.upcycle_split),
                     "slices have nothing to share: use upcycle_split = 1, or expert_sharing = none");
  }
  if (o.upcycle_noise > 0.0) {
    throw InputError(fmt::format("upcycle_noise = {} with expert_sharing = base+delta", o.upcycle_noise),
                     "the experts are told apart by their deltas: use upcycle_noise = 0, or expert_sharing = none");
  }
}

std::string list_of(const std::vector<std::string>& lines) { return fmt::format("\n  {}", fmt::join(lines, "\n  ")); }

// Collects what differs between two models.
struct Differences {
  std::vector<std::string> lines;
  template <class V>
  void compare(std::string_view name, const V& source, const V& target) {
    if (source != target) lines.push_back(fmt::format("{}: {} in the checkpoint, {} here", name, source, target));
  }
  // What has to be the same wherever parameters are taken over, with or without experts.
  void compare_outside_feed_forwards(const ModelOptions& source, const ModelOptions& target) {
    compare("layers", source.layers, target.layers);
    compare("width", source.width, target.width);
    compare("heads", source.heads, target.heads);
    compare("tied_head", source.tied_head, target.tied_head);
    compare("input_map", source.input_map, target.input_map);
    compare("residual", source.residual, target.residual);
  }
};

std::string kinds_of_experts(const ModelOptions& o, Index num_experts) {
  std::vector<std::string_view> kinds;
  for (const auto& shape : experts::expert_shapes(o.experts, o.width, num_experts))
    kinds.push_back(name_of(shape.kind));
  return fmt::format("{}", fmt::join(kinds, ","));
}

bool has_dense_blocks(const ModelOptions& o) { return o.moe_every != 1; }

}  // namespace

void validate(const StartOptions& o, const ModelOptions& model) {
  if (o.init_matching && o.init_from.empty()) {
    throw InputError("init_matching without init_from", "name a checkpoint to begin at: --init-from FILE");
  }
  if (o.init_matching && o.upcycle) {
    throw InputError("init_matching with upcycle", "give one of them: they say where a run begins");
  }
  if (o.upcycle && o.init_from.empty()) {
    throw InputError("upcycle without init_from", "name a checkpoint of the model without experts: --init-from FILE");
  }
  if (!o.upcycle && (o.upcycle_noise != 0.0 || o.upcycle_split != 1)) {
    throw InputError(
        fmt::format("upcycle_noise = {} and upcycle_split = {} without upcycle", o.upcycle_noise, o.upcycle_split),
        "they say how experts are made of a dense model: give --upcycle too, or leave them out");
  }
  if (o.upcycle) validate_upcycling(o, model);
}

ModelOptions model_options(const CheckpointHeader& header) {
  ModelOptions options;
  OptionTable table;
  describe(options, table);
  for (const auto& [name, text] : header.config) {
    if (table.find(name) != nullptr) table.assign(name, text);
  }
  return options;
}

void refuse_other_model(const ModelOptions& source, const ModelOptions& target) {
  Differences found;
  found.compare_outside_feed_forwards(source, target);
  found.compare("moe_every", source.moe_every, target.moe_every);
  if (has_dense_blocks(target)) found.compare("dense_kind", name_of(source.dense_kind), name_of(target.dense_kind));
  if (target.moe_every > 0 && source.moe_every > 0) {
    found.compare("expert_kind", kinds_of_experts(source, target.router.experts),
                  kinds_of_experts(target, target.router.experts));
  }
  if (found.lines.empty()) return;
  const bool may_grow = source.moe_every == 0 && target.moe_every > 0;
  throw InputError(fmt::format("init_from is another model:{}", list_of(found.lines)),
                   may_grow ? "to make experts of its feed-forwards give --upcycle"
                            : "give this run the model's options (conclave inspect shows them)");
}

void refuse_to_match(const ModelOptions& source, const ModelOptions& target) {
  Differences found;
  found.compare("width", source.width, target.width);
  found.compare("heads", source.heads, target.heads);
  if (source.layers < target.layers) found.compare("layers", source.layers, target.layers);
  if (found.lines.empty()) return;
  throw InputError(fmt::format("init_from is a model that this one cannot begin at:{}", list_of(found.lines)),
                   "give this run its width, heads, and at most its layers");
}

void refuse_to_upcycle(const StartOptions& options, const ModelOptions& source, const ModelOptions& target) {
  if (source.moe_every != 0) {
    throw InputError(
        fmt::format("upcycle from a model with experts: moe_every = {} in the checkpoint", source.moe_every),
        "train a model without experts with moe_every = 0, or leave --upcycle out to go on with these");
  }
  Differences found;
  found.compare_outside_feed_forwards(source, target);
  found.compare("context", source.context, target.context);
  found.compare("expert_bias", source.experts.expert_bias, target.experts.expert_bias);
  const bool is_linear = source.dense_kind == experts::ExpertKind::linear;
  if (has_dense_blocks(target)) {
    found.compare("dense_kind", name_of(source.dense_kind), name_of(target.dense_kind));
    if (!is_linear) found.compare("dense_hidden", source.dense_hidden, target.dense_hidden);
  }
  for (const std::string& kind : target.experts.expert_kind) {
    found.compare("expert_kind", std::string(name_of(source.dense_kind)), kind);
  }
  const Index split = options.upcycle_split;
  if (split > 1 && (is_linear || source.dense_hidden % split != 0)) {
    found.lines.push_back(fmt::format("upcycle_split: {} does not divide {}", split,
                                      is_linear ? "a linear feed-forward, which has no hidden width"
                                                : fmt::format("dense_hidden = {}", source.dense_hidden)));
  } else if (!is_linear) {
    for (const Index hidden : target.experts.expert_hidden) {
      found.compare("expert_hidden", source.dense_hidden / split, hidden);
    }
  }
  if (found.lines.empty()) return;
  throw InputError(
      fmt::format("cannot upcycle this checkpoint:{}", list_of(found.lines)),
      "experts are copies of its feed-forwards (expert_hidden = dense_hidden / upcycle_split), and all else "
      "is the same model");
}

}  // namespace conclave::train
