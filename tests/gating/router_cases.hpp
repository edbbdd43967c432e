// SPDX-License-Identifier: BSD-3-Clause
// Random routers with random groups to route, numbered: case n is the same everywhere.
#pragma once

#include "gating/router.hpp"
#include "tests/gating/draws.hpp"
#include "tests/gating/reference_router.hpp"
#include "tests/gating/rule_cases.hpp"

namespace conclave::test {

/// A router, its parameters and one or more groups for it.
struct RouterCase {
  gating::RouterOptions options;
  Index seed = 0;
  Index width = 0;
  Index num_tokens = 0;  // of a group
  Index num_groups = 1;
  Index layer = 0;
  Index step = 0;
  Index first_token = 0;  // of the first group
  bool training = true;
  Row x;                                // [num_groups, num_tokens, width]
  Row selection_bias;                   // [experts] or empty
  std::vector<std::int32_t> token_ids;  // [num_groups, num_tokens]
  std::vector<std::int32_t> domains;    // [num_groups, num_tokens] or empty
  std::vector<ReferenceRule> rules;     // those of the options, taken apart
  ParameterList parameters;
  Row values;  // of the parameters
  std::unique_ptr<gating::Router<double>> router;
};

/// Changes what the router and the other options cannot have.
inline void make_possible(gating::RouterOptions& o) {
  using namespace gating;
  if (o.router != "topk") o.selection = Selection::score;
  if (o.selection == Selection::sinkhorn) o.selection_bias = false;
  if (o.second_policy == SecondPolicy::sampled) o.blocks_kept = o.blocks;
  if (o.router == "expert_choice") {
    o.capacity_scope = CapacityScope::group;
    if (o.capacity_factor == 0.0) o.capacity_factor = 1.5;
    if (o.eval_capacity_factor == 0.0) o.eval_capacity_factor = 1.0;
  }
  const bool can_reroute = o.router == "topk" && o.selection == Selection::score &&
                           o.capacity_scope == CapacityScope::group && o.second_policy != SecondPolicy::random_late;
  if (!can_reroute) o.overflow = Overflow::drop;
}

/// Options over the whole range of what routers take; every second one is a top-k router. The rules of a rule router
/// are yet to come.
inline gating::RouterOptions random_options(Draws& draw) {
  using namespace gating;
  RouterOptions o;
  const auto& kinds = router_kinds();
  if (draw.yes()) o.router = kinds[static_cast<std::size_t>(draw.below(std::ssize(kinds)))].name;
  o.experts = draw.pick<Index>({1, 2, 3, 4, 6, 8, 8, 12});
  o.top_k = draw.below(3) == 0 ? std::min<Index>(2, o.experts) : 1 + draw.below(std::min<Index>(o.experts, 4));
  for (const Index blocks : {Index{2}, Index{3}, Index{4}, o.experts}) {
    if (o.experts % blocks == 0 && draw.yes()) o.blocks = blocks;
  }
  const Index block_size = o.experts / o.blocks;
  const Index least_kept = (o.top_k + block_size - 1) / block_size;
  o.blocks_kept = least_kept + draw.below(o.blocks - least_kept + 1);
  o.gate = draw.any<GateKind>();
  o.gate_width = draw.pick<Index>({0, 2, 5});
  o.scorer = draw.any<Scorer>();
  o.router_bias = draw.yes();
  o.selection = draw.below(4) == 0 ? Selection::sinkhorn : Selection::score;
  o.sinkhorn_iterations = draw.pick<Index>({0, 1, 8});
  o.jitter = draw.pick({0.0, 0.1, 0.5});
  o.noise = draw.yes();
  o.normalise = draw.any<Normalise>();
  o.gate_scale = draw.pick({1.0, 2.5, -0.5});
  o.second_policy = draw.any<SecondPolicy>();
  o.capacity_factor = draw.pick({0.0, 0.3, 0.5, 0.75, 1.0, 1.25, 100.0});
  o.eval_capacity_factor = draw.pick({0.0, 0.4, 1.0, 2.0});
  o.capacity_formula = draw.any<CapacityFormula>();
  o.capacity_scope = draw.below(3) == 0 ? CapacityScope::step : CapacityScope::group;
  o.min_capacity = draw.pick<Index>({0, 0, 1, 2, 30});
  o.priority = draw.any<Priority>();
  o.overflow = draw.any<Overflow>();
  o.balance_count = draw.any<BalanceCount>();
  o.balance_scope = draw.any<BalanceScope>();
  o.selection_bias = draw.yes();
  for (Index e = 0; e < o.experts && draw.below(3) != 0; ++e) {
    if (e == 0) o.load_weight.assign(static_cast<std::size_t>(o.experts), 1.0);
    o.load_weight[static_cast<std::size_t>(e)] = draw.pick({0.5, 1.0, 3.0, 0.7});
  }
  for (Index e = 0; e < o.experts && draw.below(3) != 0; ++e) {
    if (e == 0) o.activation.assign(static_cast<std::size_t>(o.experts), 0.2);
    o.activation[static_cast<std::size_t>(e)] = draw.pick({0.01, 0.3, 0.5, 1.0});
  }
  make_possible(o);
  return o;
}

/// Builds the router of c.options and draws its parameters, its bias and the groups.
inline void fill_case(RouterCase& c, Draws& draw) {
  if (c.options.router == "rule") {
    c.rules = random_rules(draw, c.options.experts, c.options.top_k);
    c.options.rules = rules_text(c.rules, draw);
  }
  gating::validate(c.options);
  c.router = gating::make_router<double>(c.options, c.seed, c.width, c.parameters, "router/");
  c.values = draw.normals(c.parameters.size(), 0.7);
  if (c.options.selection_bias) c.selection_bias = draw.normals(c.options.experts, 0.3);
  c.x = draw.normals(c.num_groups * c.num_tokens * c.width, 1.0);
  const bool has_domains = draw.yes();
  for (Index t = 0; t < c.num_groups * c.num_tokens; ++t) {
    c.token_ids.push_back(static_cast<std::int32_t>(draw.below(280)));
    if (has_domains) c.domains.push_back(static_cast<std::int32_t>(draw.below(4)));
  }
}

/// The place of a parameter tensor of the case among its values, by the end of its name; it must be there.
inline Range place_of(const RouterCase& c, const std::string& name) {
  for (const ParameterEntry& entry : c.parameters.entries()) {
    if (entry.name == "router/" + name) return entry.tensor.range();
  }
  invariant(false, "no tensor {}", name);
  return {};
}

inline RouterCase random_case(Index number) {
  Draws draw(number);
  RouterCase c;
  c.options = random_options(draw);
  c.seed = draw.below(1000);
  c.width = 1 + draw.below(9);
  c.num_tokens = draw.pick<Index>({0, 1, 2, 5, 8, 13, 20, 20});
  c.layer = draw.below(5);
  c.step = draw.below(100);
  c.first_token = draw.below(1000);
  c.training = draw.below(4) != 0;
  // Where by the definition experts are equal, rounding would decide: balanced scores of a lone token, or of experts
  // that very hot scores leave to one token alone, and directions in one dimension.
  if (c.num_tokens == 1) c.options.sinkhorn_iterations = 0;
  if (c.width < 4 && c.options.gate_width == 0) c.options.gate_width = 3;
  fill_case(c, draw);
  const bool is_hot = draw.below(4) == 0;  // above the limit of the temperature
  const bool can_be_hot =
      c.options.gate == gating::GateKind::cosine && c.options.selection != gating::Selection::sinkhorn;
  if (can_be_hot && !c.values.empty() && is_hot) {
    c.values[static_cast<std::size_t>(place_of(c, "router_temperature").begin)] = 4.7;
  }
  return c;
}

/// Lowers a cosine gate's temperature: of very hot scores some underflow.
inline void cool(RouterCase& c) {
  if (c.options.gate != gating::GateKind::cosine || c.values.empty()) return;
  c.values[static_cast<std::size_t>(place_of(c, "router_temperature").begin)] = 1.0;
}

inline gating::RouterInput<double> input_of(const RouterCase& c, Index group = 0) {
  gating::RouterInput<double> input;
  const Index size = c.num_tokens * c.width;
  input.x = as_matrix(std::span(c.x).subspan(static_cast<std::size_t>(group * size), static_cast<std::size_t>(size)),
                      c.num_tokens, c.width);
  const auto tokens = [&](const std::vector<std::int32_t>& all) {
    return std::span(all).subspan(static_cast<std::size_t>(group * c.num_tokens),
                                  static_cast<std::size_t>(c.num_tokens));
  };
  input.token_ids = tokens(c.token_ids);
  if (!c.domains.empty()) input.domains = tokens(c.domains);
  input.selection_bias = c.selection_bias;
  input.first_token = TokenId{c.first_token + group * c.num_tokens};
  input.layer = c.layer;
  input.step = c.step;
  input.training = c.training;
  return input;
}

/// `rows` rows of `cols` values from `begin` on.
inline Rows rows_at(std::span<const double> values, Index begin, Index rows, Index cols) {
  Rows result;
  for (Index i = 0; i < rows; ++i) {
    const auto row = values.subspan(static_cast<std::size_t>(begin + i * cols), static_cast<std::size_t>(cols));
    result.emplace_back(row.begin(), row.end());
  }
  return result;
}

/// Gives the reference the tensors that a router has registered under `prefix`.
inline void set_parameters(ReferenceInput& in, const ParameterList& list, const std::string& prefix,
                           std::span<const double> values) {
  for (const ParameterEntry& entry : list.entries()) {
    if (!entry.name.starts_with(prefix)) continue;
    const std::string name = entry.name.substr(prefix.size());
    const Rows rows = rows_at(values, entry.tensor.offset, entry.tensor.rows, entry.tensor.cols);
    if (name == "router_weight") in.weight = rows;
    if (name == "noise_weight") in.noise_weight = rows;
    if (name == "router_bias") in.bias = rows[0];
    if (name == "router_hidden_weight" || name == "router_projection") in.inner_weight = rows;
    if (name == "router_hidden_bias" || name == "router_projection_bias") in.inner_bias = rows[0];
    if (name == "router_temperature") in.temperature = rows[0][0];
  }
}

/// Group `group` of the case, with these parameters and these tokens [num_groups, num_tokens, width] in place of its
/// own.
inline ReferenceInput reference_input(const RouterCase& c, Index group, std::span<const double> values,
                                      std::span<const double> x) {
  ReferenceInput in;
  in.options = c.options;
  in.x = rows_at(x, group * c.num_tokens * c.width, c.num_tokens, c.width);
  set_parameters(in, c.parameters, "router/", values);
  for (Index t = group * c.num_tokens; t < (group + 1) * c.num_tokens; ++t) {
    in.token_ids.push_back(c.token_ids[static_cast<std::size_t>(t)]);
    if (!c.domains.empty()) in.domains.push_back(c.domains[static_cast<std::size_t>(t)]);
  }
  in.rules = c.rules;
  in.selection_bias = c.selection_bias;
  in.seed = c.seed;
  in.layer = c.layer;
  in.step = c.step;
  in.first_token = c.first_token + group * c.num_tokens;
  in.training = c.training;
  return in;
}

inline ReferenceInput reference_input(const RouterCase& c) { return reference_input(c, 0, c.values, c.x); }

/// The case in words, for a failing test.
inline std::string describe_case(const RouterCase& c) {
  gating::RouterOptions options = c.options;
  OptionTable table;
  describe(options, table);
  std::string text = fmt::format("num_tokens={} width={} training={}", c.num_tokens, c.width, c.training);
  for (const Option& option : table.options()) text += fmt::format(" {}={}", option.name, option.text());
  return text;
}

}  // namespace conclave::test
