// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/expert_edit.hpp"

#include <algorithm>
#include <set>

namespace conclave::train {

using model::ModelOptions;

namespace {

void require_experts(const ModelOptions& o) {
  if (o.moe_every == 0) throw InputError("the model has no experts (moe_every = 0)", "use a model with experts");
  if (o.router.router != "rule") return;
  throw InputError("router = rule: its rules name experts by their numbers",
                   "experts of such a model cannot be changed; train a new one with other rules");
}

void require_in_range(const ModelOptions& o, const ExpertsOfLayers& experts) {
  for (std::size_t l = 0; l < experts.size(); ++l) {
    for (const ExpertId e : experts[l]) {
      if (e >= ExpertId{0} && e < ExpertId{o.router.experts}) continue;
      throw InputError(fmt::format("expert {} in layer {}", e.value(), l),
                       fmt::format("experts are 0 to {}", o.router.experts - 1));
    }
  }
}

void require_layers(const ModelOptions& o, const ExpertsOfLayers& experts) {
  require_in_range(o, experts);
  if (std::ssize(experts) != o.num_moe_layers()) {
    throw InputError(
        fmt::format("experts of {} layers, the model has {} MoE layers", experts.size(), o.num_moe_layers()),
        "name some in every layer: all have the same number of experts");
  }
  for (std::size_t l = 0; l < experts.size(); ++l) {
    if (experts[l].size() != experts.front().size()) {
      throw InputError(fmt::format("{} experts in layer {}, {} in layer 0", experts[l].size(), l, experts[0].size()),
                       "name as many in every layer: all have the same number of experts");
    }
  }
}

void require_different(const ExpertsOfLayers& experts) {
  for (std::size_t l = 0; l < experts.size(); ++l) {
    const std::set<ExpertId> once(experts[l].begin(), experts[l].end());
    if (once.size() != experts[l].size()) {
      throw InputError(fmt::format("an expert of layer {} is named twice", l), "name it once");
    }
  }
}

void require_enough_left(const ModelOptions& o, Index left) {
  if (left >= o.router.top_k && left >= 1) return;
  throw InputError(fmt::format("{} experts are left, a token chooses {}", left, o.router.top_k),
                   "leave at least top_k experts");
}

ExpertOrigin whole(Index expert) { return {{ExpertId{expert}}, {1.0}}; }

std::vector<ExpertOrigin> all_of(const ModelOptions& o) {
  std::vector<ExpertOrigin> origins;
  for (Index e = 0; e < o.router.experts; ++e) origins.push_back(whole(e));
  return origins;
}

/// A list as short as it can be: options repeat lists over a layer's experts.
template <class V>
std::vector<V> shortest(std::vector<V> list) {
  for (std::size_t length = 1; length < list.size(); ++length) {
    bool repeats = true;
    for (std::size_t i = length; i < list.size(); ++i) repeats = repeats && list[i] == list[i - length];
    if (repeats) list.resize(length);
  }
  return list;
}

/// of[e], for a list that is repeated over the experts, of each new expert; the same in every layer.
template <class V>
std::vector<V> carried(const ExpertEdit& edit, const std::vector<V>& of, std::string_view name) {
  std::vector<V> result;
  for (std::size_t l = 0; l < edit.layers.size(); ++l) {
    std::vector<V> here;
    for (const ExpertOrigin& origin : edit.layers[l]) {
      const auto at = [&](ExpertId e) { return of[static_cast<std::size_t>(e.value()) % of.size()]; };
      here.push_back(at(origin.experts.front()));
      for (const ExpertId e : origin.experts) {
        if (at(e) == here.back()) continue;
        throw InputError(
            fmt::format("{} of the merged experts {} is not the same", name, origin.experts.front().value()),
            "merge experts of one kind and size");
      }
    }
    if (l > 0 && here != result) {
      throw InputError(fmt::format("{} would be another list in layer {} than in layer 0", name, l),
                       "experts differ from one another: edit the same ones in every layer");
    }
    result = std::move(here);
  }
  return shortest(std::move(result));
}

bool any_of(const ExpertEdit& edit, bool (*holds)(const ExpertOrigin&)) {
  return std::any_of(edit.layers.begin(), edit.layers.end(),
                     [&](const auto& layer) { return std::any_of(layer.begin(), layer.end(), holds); });
}

bool any_logit(const ExpertEdit& edit) {
  return any_of(edit, [](const ExpertOrigin& origin) { return origin.logit != 0.0; });
}

void changes_of_cut(const ModelOptions& o, std::vector<std::string>& why) {
  const gating::RouterOptions& r = o.router;
  if (r.router == "hash" || r.router == "random" || r.router == "bernoulli") {
    why.push_back(fmt::format("router {} draws among the parts", r.router));
  }
  if (r.router == "topk" && r.blocks > 1) why.emplace_back("a block's score is the sum of its two best, now of parts");
  if (r.router == "topk" && r.top_k == 2 && r.second_policy != gating::SecondPolicy::all) {
    why.push_back(fmt::format("second_policy = {} is for two choices", name_of(r.second_policy)));
  }
  if (r.capacity_formula != gating::CapacityFormula::standard) {
    why.push_back(fmt::format("capacity_formula = {} may give the parts other slots", name_of(r.capacity_formula)));
  }
  if (o.fusion == model::Fusion::max || o.fusion == model::Fusion::vote) {
    why.push_back(fmt::format("fusion = {} does not sum the parts", name_of(o.fusion)));
  }
}

void changes_of_addition(const ExpertEdit& edit, const ModelOptions& o, std::vector<std::string>& why) {
  const gating::RouterOptions& r = o.router;
  if (r.router != "topk") {
    why.push_back(fmt::format("router {} gives the new experts tokens", r.router));
    return;
  }
  if (r.selection == gating::Selection::sinkhorn) why.emplace_back("Sinkhorn selection gives every expert its share");
  if (r.blocks > 1) why.emplace_back("the experts are cut into blocks anew");
  // exp(-17) is below the last bit of a float.
  constexpr double far_below = -17.0;
  const bool first_of_equals = r.top_k == 1 && r.normalise != gating::Normalise::none;  // gates are 1, whoever it is
  const auto is_near = [](const ExpertOrigin& origin) { return origin.is_new && origin.logit > far_below; };
  if (!first_of_equals && any_of(edit, is_near)) {
    why.push_back(fmt::format("logits lowered by less than {} leave the new experts a part in the choice", -far_below));
  }
}

}  // namespace

ExpertEdit cut_experts(const ModelOptions& o, Index parts) {
  require_experts(o);
  if (parts < 2) throw InputError(fmt::format("{} parts", parts), "cut experts into 2 or more");
  if (o.experts.expert_sharing != experts::ExpertSharing::none) {
    throw InputError("experts with a shared base (expert_sharing = base+delta) cannot be cut",
                     "their base belongs to whole experts: use a model with expert_sharing = none");
  }
  for (const experts::ExpertShape& shape : experts::expert_shapes(o.experts, o.width, o.router.experts)) {
    if (shape.kind == experts::ExpertKind::linear || shape.hidden % parts != 0) {
      throw InputError(
          fmt::format("a {} expert of hidden width {} into {} parts", name_of(shape.kind), shape.hidden, parts),
          "the hidden width must be a multiple of the parts; linear experts have none");
    }
  }
  ExpertEdit edit;
  edit.parts = parts;
  for (Index l = 0; l < o.num_moe_layers(); ++l) {
    auto& origins = edit.layers.emplace_back();
    for (Index e = 0; e < o.router.experts * parts; ++e) {
      origins.push_back(whole(e / parts));
      origins.back().part = e % parts;
    }
  }
  return edit;
}

ExpertEdit add_experts(const ModelOptions& o, const ExpertsOfLayers& copied, double logit) {
  require_experts(o);
  require_layers(o, copied);
  ExpertEdit edit;
  for (const std::vector<ExpertId>& of_layer : copied) {
    auto& origins = edit.layers.emplace_back(all_of(o));
    for (const ExpertId e : of_layer) {
      origins.push_back(whole(e.value()));
      origins.back().logit = logit;
      origins.back().is_new = true;
    }
  }
  return edit;
}

ExpertEdit remove_experts(const ModelOptions& o, const ExpertsOfLayers& removed) {
  require_experts(o);
  require_layers(o, removed);
  require_different(removed);
  require_enough_left(o, o.router.experts - std::ssize(removed.front()));
  ExpertEdit edit;
  for (const std::vector<ExpertId>& of_layer : removed) {
    auto& origins = edit.layers.emplace_back(all_of(o));
    std::erase_if(origins, [&](const ExpertOrigin& origin) {
      return std::find(of_layer.begin(), of_layer.end(), origin.experts.front()) != of_layer.end();
    });
  }
  return edit;
}

ExpertEdit merge_experts(const ModelOptions& o, const ExpertsOfLayers& merged) {
  std::vector<std::vector<ExpertOrigin>> pairs;
  for (const std::vector<ExpertId>& of_layer : merged) {
    invariant(of_layer.size() % 2 == 0, "{} experts in pairs", of_layer.size());
    auto& here = pairs.emplace_back();
    for (std::size_t i = 0; i < of_layer.size(); i += 2) here.push_back({{of_layer[i], of_layer[i + 1]}, {0.5, 0.5}});
  }
  return merge_experts(o, pairs);
}

ExpertEdit merge_experts(const ModelOptions& o, const std::vector<std::vector<ExpertOrigin>>& merged) {
  require_experts(o);
  ExpertsOfLayers named(merged.size());
  ExpertsOfLayers lost(merged.size());
  for (std::size_t l = 0; l < merged.size(); ++l) {
    for (const ExpertOrigin& origin : merged[l]) {
      invariant(origin.experts.size() == origin.shares.size() && !origin.experts.empty(), "{} shares of {} experts",
                origin.shares.size(), origin.experts.size());
      named[l].insert(named[l].end(), origin.experts.begin(), origin.experts.end());
      lost[l].insert(lost[l].end(), origin.experts.begin() + 1, origin.experts.end());
    }
  }
  require_in_range(o, named);
  require_layers(o, lost);
  require_different(named);
  if (o.experts.expert_sharing != experts::ExpertSharing::none) {
    throw InputError("experts with a shared base (expert_sharing = base+delta) cannot be merged",
                     "a mean of products of low rank is none: use a model with expert_sharing = none");
  }
  ExpertEdit edit = remove_experts(o, lost);
  for (std::size_t l = 0; l < merged.size(); ++l) {
    for (const ExpertOrigin& origin : merged[l]) {
      *std::find_if(edit.layers[l].begin(), edit.layers[l].end(),
                    [&](const auto& into) { return into.experts.front() == origin.experts.front(); }) = origin;
    }
  }
  return edit;
}

std::vector<std::string> changes_of(const ExpertEdit& edit, const ModelOptions& options) {
  std::vector<std::string> why;
  if (edit.parts > 1) changes_of_cut(options, why);
  if (any_of(edit, [](const auto& origin) { return origin.is_new; })) changes_of_addition(edit, options, why);
  if (any_of(edit, [](const auto& origin) { return origin.experts.size() > 1; })) {
    why.emplace_back("a mean of experts is another function than any of them");
  } else if (edit.num_experts() < options.router.experts) {
    why.emplace_back("tokens of the removed experts go to others");
  }
  return why;
}

ModelOptions edited_options(const ExpertEdit& edit, const ModelOptions& options) {
  ModelOptions o = options;
  o.router.experts = edit.num_experts();
  o.router.top_k *= edit.parts;
  const bool has_logits = o.router.router == "topk" || o.router.router == "expert_choice";
  o.router.router_bias = o.router.router_bias || (has_logits && any_logit(edit));
  if (edit.parts == 1 && edit.num_experts() > options.router.experts) {
    const double growth = static_cast<double>(edit.num_experts()) / static_cast<double>(options.router.experts);
    o.router.capacity_factor *= growth;
    o.router.eval_capacity_factor *= growth;
  }
  o.experts.expert_kind = carried(edit, options.experts.expert_kind, "expert_kind");
  o.experts.expert_hidden = carried(edit, options.experts.expert_hidden, "expert_hidden");
  for (Index& hidden : o.experts.expert_hidden) hidden /= edit.parts;
  const auto carry_all = [&](std::vector<double>& values, std::string_view name) {
    if (values.empty()) return;
    const std::vector<double> repeated = carried(edit, values, name);
    values.clear();
    for (Index e = 0; e < edit.num_experts(); ++e)
      values.push_back(repeated[static_cast<std::size_t>(e) % repeated.size()]);
  };
  carry_all(o.router.load_weight, "load_weight");
  carry_all(o.router.activation, "activation");
  return o;
}

}  // namespace conclave::train
