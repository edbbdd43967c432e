// SPDX-License-Identifier: BSD-3-Clause
#include "apps/reference_case.hpp"

#include "gating/rule_table.hpp"

#include <algorithm>
#include <array>
#include <limits>

namespace conclave::apps {
namespace {

using train::Hdf5File;
using train::Hdf5Type;

std::string attribute_text(const Hdf5File& file, const std::string& name) {
  switch (file.attribute_type("/config", name)) {
    case Hdf5Type::text:
      return file.attribute<std::string>("/config", name);
    case Hdf5Type::float32:
    case Hdf5Type::float64:
      return fmt::format("{}", file.attribute<double>("/config", name));
    default:
      return fmt::format("{}", file.attribute<Index>("/config", name));
  }
}

// What a case's configuration says beside the router's options.
struct CaseOptions {
  Index tokens = 0;
  Index groups = 0;
  Index width = 0;
  Index vocab = 0;
  Index seed = 0;
  Index layer = 0;
  Index step = 0;
  bool expert_bias = false;
  Index shared_experts = 0;
  Index shared_hidden = 0;
  model::Fusion fusion = model::Fusion::weighted;
};

void describe(CaseOptions& o, OptionTable& table) {
  table.add("tokens", o.tokens, "tokens of the step");
  table.add("groups", o.groups, "groups they form");
  table.add("width", o.width, "features of a token");
  table.add("vocab", o.vocab, "token ids are below this");
  table.add("seed", o.seed, "of random draws");
  table.add("layer", o.layer, "number in random draws");
  table.add("step", o.step, "number in random draws");
  table.add("expert_bias", o.expert_bias, "whether experts have biases");
  table.add("shared_experts", o.shared_experts, "shared experts");
  table.add("shared_hidden", o.shared_hidden, "their hidden width");
  table.add("fusion", o.fusion, "how outputs are combined");
}

// What a case of version 1 says of its router. Later options have to be left at their defaults.
constexpr std::array<std::string_view, 24> router_options{"balance_count",
                                                          "balance_scope",
                                                          "blocks",
                                                          "blocks_kept",
                                                          "c_balance",
                                                          "c_importance",
                                                          "c_z",
                                                          "capacity_factor",
                                                          "experts",
                                                          "gate_scale",
                                                          "jitter",
                                                          "min_capacity",
                                                          "noise",
                                                          "normalise",
                                                          "overflow",
                                                          "priority",
                                                          "router",
                                                          "router_bias",
                                                          "scorer",
                                                          "second_policy",
                                                          "selection",
                                                          "selection_bias",
                                                          "sinkhorn_iterations",
                                                          "top_k"};

// A case that leaves an option out would be computed with whatever is the default today.
void refuse_missing(const Hdf5File& file, const OptionTable& of_case) {
  const std::vector<std::string> given = file.attributes("/config");
  std::vector<std::string> missing;
  const auto require = [&](std::string_view name) {
    if (!std::binary_search(given.begin(), given.end(), name)) missing.emplace_back(name);
  };
  for (const Option& option : of_case.options()) require(option.name);
  for (const std::string_view name : router_options) require(name);
  if (missing.empty()) return;
  throw InputError(fmt::format("/config of '{}' does not say {}", file.path().string(), fmt::join(missing, ", ")),
                   "a case gives every option a value: write it again");
}

void refuse_other_version(const Hdf5File& file) {
  constexpr std::int64_t version = 1;
  const std::int64_t stored = file.has_attribute("/", "version") ? file.attribute<std::int64_t>("/", "version") : 0;
  if (stored == version) return;
  throw InputError(fmt::format("'{}' is a reference case of version {}; this program reads version {}",
                               file.path().string(), stored, version),
                   "check it with a program of its time, or write it again");
}

void read_config(const Hdf5File& file, CaseOptions& options, gating::RouterOptions& router) {
  OptionTable table;
  describe(options, table);
  refuse_missing(file, table);
  gating::describe(router, table);
  for (const std::string& name : file.attributes("/config")) table.assign(name, attribute_text(file, name));
  const auto is_size = [](Index value) { return value >= 1 && value <= largest_size; };
  if (!is_size(options.groups) || !is_size(options.tokens) || options.tokens % options.groups != 0 ||
      !is_size(options.width)) {
    throw InputError(fmt::format("{} tokens of width {} in {} groups", options.tokens, options.width, options.groups),
                     fmt::format("groups must divide tokens, and each be 1 to {}", largest_size));
  }
}

// Router tables that a configuration's attributes cannot hold.
void read_router_tables(const Hdf5File& file, gating::RouterOptions& router) {
  const auto read_list = [&](const std::string& path, std::vector<double>& values) {
    if (file.exists(path)) values = file.read<double>(path);
  };
  read_list("/params/load_weight", router.load_weight);
  read_list("/params/activation", router.activation);
  if (file.exists("/params/rule_table")) {
    const auto table = file.read<std::int64_t>("/params/rule_table");
    const std::vector<Index> shape = file.shape("/params/rule_table");
    if (shape.size() != 2 || shape[1] != router.top_k || router.top_k < 1) {
      throw InputError(fmt::format("/params/rule_table has shape [{}]", fmt::join(shape, ", ")),
                       fmt::format("it must be [vocab, {}], with top_k experts a token", router.top_k));
    }
    for (Index token = 0; token < shape[0]; ++token) {
      const auto experts =
          std::span(table).subspan(static_cast<std::size_t>(token * shape[1]), static_cast<std::size_t>(shape[1]));
      router.rules += fmt::format("token {} -> {}; ", token, fmt::join(experts, ","));
    }
  }
}

// The shape of the expert whose tensors stand in `group`.
experts::ExpertShape shape_of(const Hdf5File& file, const std::string& group, Index width) {
  experts::ExpertShape shape;
  OptionTable table;
  table.add("activation", shape.kind, "kind of the expert");
  table.assign("activation", file.attribute<std::string>(group, "activation"));
  const std::vector<Index> w1 = file.shape(group + "/w1");
  if (w1.size() != 2 || w1[0] < 1 || w1[1] != width) {
    throw InputError(fmt::format("{}/w1 has shape [{}]", group, fmt::join(w1, ", ")),
                     fmt::format("it must be [hidden, {}], the layer's width", width));
  }
  shape.width = width;
  shape.hidden = w1[0];
  shape.bias = file.exists(group + "/b1");
  return shape;
}

std::vector<experts::ExpertShape> shapes_in(const Hdf5File& file, const std::string& group, Index width) {
  std::vector<experts::ExpertShape> shapes;
  if (!file.exists(group)) return shapes;
  for (const std::string& member : file.members(group)) shapes.push_back(shape_of(file, group + "/" + member, width));
  return shapes;
}

// All datasets of real numbers below `group`, by their path within it.
std::map<std::string, std::vector<double>> read_arrays(const Hdf5File& file, const std::string& group) {
  std::map<std::string, std::vector<double>> arrays;
  for (const std::string& path : file.datasets(group)) {
    const Hdf5Type type = file.type(path);
    if (type != Hdf5Type::float32 && type != Hdf5Type::float64) continue;
    arrays[path.substr(std::min(path.size(), group.size() + 1))] = file.read<double>(path);
  }
  return arrays;
}

// Ids that lie in the vocabulary, each with a rule where rules route.
std::vector<std::int32_t> read_token_ids(const Hdf5File& file, Index vocab, const gating::RouterOptions& router) {
  std::optional<gating::RuleTable> rules;
  if (router.router == "rule")
    rules.emplace(router.rules, "rules", gating::RuleLimits{router.experts, router.top_k, {}});
  std::vector<std::int32_t> ids;
  for (const Index id : file.read<std::int64_t>("/input/token_ids")) {
    if (id < 0 || id >= vocab || id > std::numeric_limits<std::int32_t>::max()) {
      throw InputError(fmt::format("/input/token_ids has {}, the vocabulary {} tokens", id, vocab),
                       "ids are 0 or more, and below vocab and 2^31");
    }
    ids.push_back(static_cast<std::int32_t>(id));
    if (rules && rules->experts_of(ids.back(), std::nullopt).empty()) {
      throw InputError(fmt::format("no rule of the case fits token {}", id), "give every token that occurs a rule");
    }
  }
  return ids;
}

void check_size(std::string_view what, std::size_t size, Index expected) {
  if (static_cast<Index>(size) == expected) return;
  throw InputError(fmt::format("{} has {} values, the configuration says {}", what, size, expected),
                   "the case contradicts itself: write it again");
}

double read_loss(const Hdf5File& file, const std::string& path) {
  const std::vector<double> values = file.read<double>(path);
  check_size(path, values.size(), 1);
  return values.front();
}

// Every tensor of the layer must stand in the case with its shape, as a parameter and as a gradient.
void check_tensors(const ReferenceCase& c) {
  ParameterList list;
  const auto router = gating::make_router<float>(c.shape.router, c.seed, c.shape.width, list, "");
  for (std::size_t e = 0; e < c.shape.experts.size(); ++e) {
    experts::FeedForward<float>(list, fmt::format("expert/{:04}/", e), c.shape.experts[e], 1.0);
  }
  for (std::size_t e = 0; e < c.shape.shared.size(); ++e) {
    experts::FeedForward<float>(list, fmt::format("shared/{:04}/", e), c.shape.shared[e], 1.0);
  }
  if (c.shape.router.selection_bias) {
    const auto bias = c.parameters.find("selection_bias");
    check_size("/params/selection_bias", bias == c.parameters.end() ? 0 : bias->second.size(), c.shape.router.experts);
  }
  for (const ParameterEntry& entry : list.entries()) {
    for (const auto* arrays : {&c.parameters, &c.gradients}) {
      const auto found = arrays->find(entry.name);
      check_size((arrays == &c.parameters ? "/params/" : "/expected/grad/") + entry.name,
                 found == arrays->end() ? 0 : found->second.size(), entry.tensor.size());
    }
  }
  const auto dx = c.gradients.find("x");
  check_size("/expected/grad/x", dx == c.gradients.end() ? 0 : dx->second.size(), c.tokens * c.shape.width);
}

}  // namespace

ReferenceCase read_case(const std::filesystem::path& path) {
  const Hdf5File file = Hdf5File::open(path);
  if (!file.has_attribute("/", "format") || file.attribute<std::string>("/", "format") != "moe-layer-case") {
    throw InputError(fmt::format("{} is not a reference case", path.string()),
                     "a case has the attribute format = moe-layer-case at its root");
  }
  refuse_other_version(file);
  ReferenceCase c;
  c.name = path.stem().string();
  CaseOptions options;
  read_config(file, options, c.shape.router);
  read_router_tables(file, c.shape.router);
  gating::validate(c.shape.router);
  c.shape.fusion = options.fusion;
  c.shape.width = options.width;
  c.shape.experts = shapes_in(file, "/params/expert", options.width);
  c.shape.shared = shapes_in(file, "/params/shared", options.width);
  check_size("/params/expert", c.shape.experts.size(), c.shape.router.experts);
  check_size("/params/shared", c.shape.shared.size(), options.shared_experts);
  c.tokens = options.tokens;
  c.groups = options.groups;
  c.seed = options.seed;
  c.layer = options.layer;
  c.step = options.step;
  c.x = file.read<double>("/input/x");
  c.dy = file.read<double>("/input/dy");
  c.token_ids = read_token_ids(file, options.vocab, c.shape.router);
  c.parameters = read_arrays(file, "/params");
  c.gradients = read_arrays(file, "/expected/grad");
  c.y = file.read<double>("/expected/y");
  c.combine = file.read<double>("/expected/combine");
  c.load = file.read<std::int64_t>("/expected/load");
  const auto dropped = file.read<std::int64_t>("/expected/dropped");
  check_size("/expected/dropped", dropped.size(), 1);
  c.dropped = dropped.front();
  c.balance = read_loss(file, "/expected/balance");
  c.z = read_loss(file, "/expected/z");
  c.importance = read_loss(file, "/expected/importance");
  check_size("/input/x", c.x.size(), c.tokens * options.width);
  check_size("/input/dy", c.dy.size(), c.tokens * options.width);
  check_size("/input/token_ids", c.token_ids.size(), c.tokens);
  check_size("/expected/y", c.y.size(), c.tokens * options.width);
  check_size("/expected/combine", c.combine.size(), c.tokens * c.shape.router.experts);
  check_size("/expected/load", c.load.size(), c.shape.router.experts);
  check_tensors(c);
  return c;
}

}  // namespace conclave::apps
