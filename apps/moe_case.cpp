// SPDX-License-Identifier: BSD-3-Clause
#include "apps/moe_case.hpp"

#include "apps/option_text.hpp"
#include "apps/progress.hpp"
#include "apps/router_options.hpp"
#include "runtime/core/random.hpp"

#include <cmath>

namespace conclave::apps {
namespace {

constexpr std::string_view gate_tensor = "router_weight";

// Options of routers that only other commands use.
constexpr std::array<std::string_view, 2> not_of_training_steps{"eval_capacity_factor", "bias_rate"};

// The draws need a gate that is one matrix, and a feature an expert to stand in.
bool can_draw_experts(const MoeCase& c) {
  return c.router.router == "topk" && c.router.gate == gating::GateKind::linear && c.router.experts <= c.width;
}

void settle_skew(MoeCase& c, const std::set<std::string>& given) {
  if (c.skew == Skew::drawn || can_draw_experts(c)) return;
  if (given.contains("skew")) {
    throw InputError(fmt::format("skew = {} with router = {}, gate = {}, width = {} and {} experts", name_of(c.skew),
                                 c.router.router, name_of(c.router.gate), c.width, c.router.experts),
                     "draws of experts are for router = topk with gate = linear and at least as many features as "
                     "experts: leave --skew out");
  }
  c.skew = Skew::drawn;
}

void validate(const MoeCase& c, const std::set<std::string>& given) {
  if (c.tokens < 1 || c.groups < 1 || c.tokens % c.groups != 0) {
    throw InputError(fmt::format("{} tokens in {} groups", c.tokens, c.groups), "groups must divide tokens");
  }
  for (const auto& [name, value] : {std::pair{"tokens", c.tokens}, std::pair{"width", c.width}}) {
    if (value >= 1 && value <= largest_size) continue;
    throw InputError(fmt::format("{} = {}", name, value), fmt::format("give 1 to {}", largest_size));
  }
  for (const Index hidden : c.experts.expert_hidden) {
    if (hidden < 1) throw InputError(fmt::format("hidden has {}", hidden), "a hidden width is at least 1");
  }
  for (const std::string_view name : not_of_training_steps) {
    if (!given.contains(std::string(name)) || c.explain_router) continue;
    throw InputError(fmt::format("option '{}' has no effect here", flag_of(name)),
                     "it is not used in the forward and backward of a training step: leave it out");
  }
  gating::validate(c.router);
  experts::validate(c.experts, c.width);
}

// The logarithm of an expert's likelihood, up to a constant.
double log_likelihood(Skew skew, Index expert) {
  switch (skew) {
    case Skew::zipf:
      return -std::log(static_cast<double>(expert + 1));
    case Skew::one:
      return expert == 0 ? 100.0 : 0.0;  // far more than any draw
    case Skew::uniform:
    case Skew::drawn:
      return 0.0;
  }
  return 0.0;
}

}  // namespace

void describe(MoeCase& c, OptionSections& sections) {
  OptionTable& table = sections.section("Layer");
  table.add("tokens", c.tokens, "tokens a rank");
  table.add("groups", c.groups, "groups they form");
  table.add("width", c.width, "features of a token");
  table.add("skew", c.skew,
            "who asks for which expert: all are as likely, Zipf's law, all tokens ask for expert 0 first, or as the "
            "drawn weights of the router decide");
  conclave::describe(c.compute, table);
  table.add("explain_router", c.explain_router, "say what the router will do with these options, and stop");
  gating::describe(c.router, sections.section("Router"));
  OptionTable& experts = sections.section("Experts");
  experts::describe(c.experts, experts);
  experts.rename("expert_hidden", "hidden");
}

void settle(MoeCase& c, const Session& session) {
  gating::apply_preset(c.router, session.given);
  validate(c, session.given);
  settle_skew(c, session.given);
  apply(c.compute);
  if (!session.world.is_root() || c.explain_router) return;
  for (const std::string& notice : router_notices(c.router, session.given)) fmt::print(stderr, "{}\n", notice);
}

bool explained(const MoeCase& c, const Session& session) {
  if (c.explain_router && session.world.is_root()) {
    fmt::print("{}", router_explanation(c.router, {c.tokens / c.groups, c.groups * session.world.size()},
                                        terminal_width(stdout)));
  }
  return c.explain_router;
}

// Features are normal. Where experts are drawn, feature e < E is log p_e + a Gumbel draw: the k largest of these are a
// draw of k experts without replacement by p (Gumbel-max, Yellott 1977).
void draw_tokens(const MoeCase& c, TokenId first, MatrixView<float> x, std::vector<std::int32_t>& token_ids) {
  const Random normal(1, RandomStream::initial, 1);
  const Random uniform(1, RandomStream::gumbel, 1);
  token_ids.clear();
  for (Index t = 0; t < x.rows; ++t) {
    const Index token = first.value() + t;
    token_ids.push_back(static_cast<std::int32_t>((token * 31) % 251));
    for (Index i = 0; i < x.cols; ++i) x(t, i) = static_cast<float>(normal.normal(i, token));
    if (c.skew == Skew::drawn) continue;
    for (Index e = 0; e < c.router.experts; ++e) {
      x(t, e) = static_cast<float>(log_likelihood(c.skew, e) - std::log(-std::log(uniform.uniform(e, token))));
    }
  }
}

void draw_parameters(const MoeCase& c, const ParameterList& list, std::span<float> values) {
  initialise<float>(list, {0, list.size()}, 1, values);
  if (c.skew == Skew::drawn) return;
  const auto gate = std::find_if(list.entries().begin(), list.entries().end(),
                                 [](const ParameterEntry& entry) { return entry.name.ends_with(gate_tensor); });
  invariant(gate != list.entries().end(), "a router without {}", gate_tensor);
  const MatrixView<float> w = ParameterView<float>(values).matrix(gate->tensor);  // [experts, width]
  for (Index e = 0; e < w.rows; ++e) {
    for (Index i = 0; i < w.cols; ++i) w(e, i) = i == e ? 1.0F : 0.0F;
  }
}

std::string drop_text(double capacity_factor, Index claims, Index dropped) {
  const double rate = claims == 0 ? 0.0 : 100.0 * static_cast<double>(dropped) / static_cast<double>(claims);
  return fmt::format("capacity factor {}{}: {:.2f} % of the claims dropped", capacity_factor,
                     capacity_factor == 0.0 ? " (no limit)" : "", rate);
}

}  // namespace conclave::apps
