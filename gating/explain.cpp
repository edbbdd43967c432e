// SPDX-License-Identifier: BSD-3-Clause
#include "gating/explain.hpp"

#include "gating/capacity.hpp"
#include "gating/presets.hpp"
#include "gating/router.hpp"
#include "gating/rule_table.hpp"
#include "gating/unused_options.hpp"

#include <numeric>

namespace conclave::gating {
namespace {

double mean_choices(const RouterOptions& o) {
  if (o.router != "bernoulli") return static_cast<double>(o.top_k);
  const std::vector<double> activation = o.activations();
  return std::accumulate(activation.begin(), activation.end(), 0.0);
}

bool is_limited(const RouterOptions& o) { return o.capacity_factor > 0.0 || o.eval_capacity_factor > 0.0; }

std::string network(const RouterOptions& o) {
  const std::string_view bias = o.router_bias ? " + b" : "";
  switch (o.gate) {
    case GateKind::linear:
      return fmt::format("z = x W^T{}", bias);
    case GateKind::mlp:
      return fmt::format("z = gelu(x V^T + c) W^T{}", bias);
    case GateKind::cosine:
      return fmt::format("z_e = exp(min(temperature, ln 100)) cos(x P^T + c, m_e){}", o.router_bias ? " + b_e" : "");
  }
  invariant(false, "a gate network of number {}", static_cast<int>(o.gate));
  return {};
}

std::string scores(const RouterOptions& o) {
  if (!find_router(o.router).has_scores) return "none: nothing is learned about which expert serves a token";
  std::string text = network(o);
  if (o.jitter > 0.0) {
    text +=
        fmt::format(", in training with x (1 - {0} + 2 {0} u) for x, u a draw for each token and feature", o.jitter);
  }
  if (o.noise) text += "; in training z += N softplus(x Wn^T), N a normal draw for each token and expert";
  return text + (o.scorer == Scorer::softmax ? "; p = softmax(z) over the experts" : "; p_e = sigmoid(z_e)");
}

std::string best_by_score(const RouterOptions& o) {
  std::string text;
  std::string_view q = "p";
  if (o.selection == Selection::sinkhorn) {
    q = "q";
    text = fmt::format(
        "in training q = the balanced assignment of exp(z) over a group after {} rounds of Sinkhorn, "
        "in evaluation q = z; ",
        o.sinkhorn_iterations);
  } else if (o.selection_bias) {
    q = "q";
    text = fmt::format("q = p + bias; after each step bias_e += {} sign(mean n - n_e), n_e the choices of expert e; ",
                       o.bias_rate);
  }
  if (o.blocks_kept < o.blocks) {
    text += fmt::format(
        "experts in {} blocks, of which a token keeps the {} with the largest sum of their two best "
        "{}; of them ",
        o.blocks, o.blocks_kept, q);
  }
  text += fmt::format("the {} with the largest {}, best first", o.top_k, q);
  return text + "; of equals the lower number";
}

// Rules may be many.
std::string shortened(const std::string& rules) {
  constexpr std::size_t most = 400;
  return rules.size() <= most ? rules : rules.substr(0, rules.rfind("; ", most)) + "; ...";
}

std::string selection(const RouterOptions& o) {
  if (o.router == "topk") return best_by_score(o);
  if (o.router == "expert_choice") {
    return "each expert takes the tokens of the group with its largest p, as many as it has slots; of equals the "
           "earlier; a token may have none or many";
  }
  if (o.router == "hash") return "R(token id, j) mod E for j = 0, 1, ..., passing over repeated ones: always the same";
  if (o.router == "random") return "R(token, j) mod E for j = 0, 1, ..., passing over repeated ones: new at each step";
  if (o.router == "round_robin") return "(t k + j) mod E for choice j of the group's token t";
  if (o.router == "least_loaded") {
    return fmt::format("tokens in their order, each the experts with the fewest claims so far in its group{}",
                       o.load_weight.empty() ? "" : ", over their load_weight");
  }
  if (o.router == "bernoulli") {
    return fmt::format("each expert e with probability a_e, {:.4g} experts on average; one at random where none comes",
                       mean_choices(o));
  }
  return "by the first rule that fits the token: " +
         shortened(RuleTable(o.rules, "rules", {o.experts, o.top_k, {}}).text());
}

std::string gates(const RouterOptions& o) {
  if (o.router == "expert_choice") return "g = p, as it is";
  if (o.router != "topk") return "1 / (the token's number of experts): all the same, no gradient";
  const std::string scale = o.gate_scale == 1.0 ? "" : fmt::format("{} ", o.gate_scale);
  switch (o.normalise) {
    case Normalise::none:
      return fmt::format("g_j = {}p_j, as it is", scale);
    case Normalise::selected:
      return fmt::format("g_j = {}p_j / (sum of p over all {} choices, served or not)", scale, o.top_k);
    case Normalise::kept:
      return fmt::format("g_j = {}p_j / (sum of p over the choices that got a slot)", scale);
  }
  invariant(false, "a normalisation of number {}", static_cast<int>(o.normalise));
  return {};
}

std::string second(const RouterOptions& o) {
  const auto drawn = [&](std::string_view when) {
    return fmt::format(
        "in training the second expert is kept with probability g2 / {}, g2 its share of both scores, "
        "decided {} it takes a slot",
        o.second_threshold, when);
  };
  switch (o.second_policy) {
    case SecondPolicy::all:
      return "always asked";
    case SecondPolicy::random:
      return drawn("before");
    case SecondPolicy::random_late:
      return drawn("after");
    case SecondPolicy::sampled:
      return "in training drawn from the softmax of the others' z; in evaluation the one with the next largest score";
  }
  invariant(false, "a second policy of number {}", static_cast<int>(o.second_policy));
  return {};
}

std::string order(const RouterOptions& o) {
  const bool one_choice = o.top_k == 1 && o.router != "bernoulli";
  const std::string_view by_position =
      one_choice ? "in the order of tokens" : "all first choices in the order of tokens, then all second ones, ...";
  if (o.router != "topk" || o.priority == Priority::position) return std::string(by_position);
  if (o.priority == Priority::best_token && one_choice) return "the largest p first";
  if (o.priority == Priority::probability) return "the largest p first, over all choices";
  if (o.priority == Priority::best_token) {
    return "all first choices, then all second ones, ...; of each the tokens with the largest best p first";
  }
  return fmt::format("at random in training; in evaluation {}", by_position);
}

// The slots of one phase, beside an even share.
std::string slots(const RouterOptions& o, double factor, Index tokens, std::string_view phase) {
  if (factor == 0.0) return fmt::format("{}: no limit", phase);
  const double even = mean_choices(o) * static_cast<double>(tokens) / static_cast<double>(o.experts);
  const Index capacity =
      expert_capacity(o.capacity_formula, factor, mean_choices(o), tokens, o.experts, o.min_capacity);
  std::string text = fmt::format("{}: cf = {}, C = {}", phase, factor, capacity);
  if (o.router == "expert_choice") {
    return text + fmt::format(", {:.4g} experts a token on average",
                              static_cast<double>(capacity * o.experts) / static_cast<double>(tokens));
  }
  return text + fmt::format(", {:.0f} % of an even load of {:.4g}", 100.0 * static_cast<double>(capacity) / even, even);
}

std::string capacity(const RouterOptions& o, const RoutedTokens& tokens) {
  if (!is_limited(o)) return "no limit: every choice is served";
  const bool by_step = o.capacity_scope == CapacityScope::step;
  const Index count = by_step ? tokens.in_group * tokens.groups : tokens.in_group;
  return fmt::format("C = {} slots an expert in {} ({}), at least {}, at most S = {}; {}; {}",
                     formula_of(o.capacity_formula), by_step ? "the step" : "each group", name_of(o.capacity_formula),
                     o.min_capacity, count, slots(o, o.capacity_factor, count, "training"),
                     slots(o, o.eval_capacity_factor, count, "evaluation"));
}

std::string overflow(const RouterOptions& o) {
  if (o.router == "expert_choice") return "a token that no expert takes goes on by the residual path (unchosen)";
  if (o.overflow == Overflow::reroute) {
    return "a choice that finds its expert full goes to the free expert with the best score; if there is none it is "
           "dropped (over_capacity) and the residual path carries the token";
  }
  return "a choice that finds its expert full is dropped (over_capacity); the residual path carries the token";
}

std::string losses(const RouterOptions& o) {
  std::vector<std::string> terms;
  if (o.router == "topk" && o.c_balance > 0.0) {
    terms.push_back(
        fmt::format("{} balance: E sum_e (n_e / N) mean_t pi_e over {}, n_e the {} that ask for e before "
                    "capacity, pi = {}; 1 if even",
                    o.c_balance, o.balance_scope == BalanceScope::group ? "each group" : "the step",
                    o.balance_count == BalanceCount::all ? "choices" : "first choices",
                    o.scorer == Scorer::softmax ? "p" : "p / sum p"));
  }
  if (find_router(o.router).has_scores && o.c_z > 0.0) {
    terms.push_back(fmt::format("{} z: mean of logsumexp(z)^2", o.c_z));
  }
  if (o.router == "topk" && o.c_importance > 0.0) {
    terms.push_back(
        fmt::format("{} importance: Var(I) / Mean(I)^2 over experts, I_e the sum of e's gates", o.c_importance));
  }
  return terms.empty() ? "none" : fmt::format("{}", fmt::join(terms, "; "));
}

std::string draws(const RouterOptions& o) {
  std::vector<std::string> what;
  const bool scored = find_router(o.router).has_scores;
  if (scored && o.jitter > 0.0) what.emplace_back("jitter (training)");
  if (scored && o.noise) what.emplace_back("noise (training)");
  if (o.router == "topk" && o.top_k == 2) {
    if (o.second_policy == SecondPolicy::sampled) what.emplace_back("the second expert (training)");
    if (o.second_policy == SecondPolicy::random || o.second_policy == SecondPolicy::random_late) {
      what.emplace_back("whether the second expert is asked (training)");
    }
  }
  if (o.router == "topk" && is_limited(o) && o.priority == Priority::random) {
    what.emplace_back("the order of serving (training)");
  }
  if (o.router == "random" || o.router == "bernoulli") what.emplace_back("the experts");
  if (o.router == "hash") what.emplace_back("the hash, once by the seed");
  if (what.empty()) return "nothing";
  return fmt::format("{}; each draw is a function of seed, layer, step and token, the same on any number of ranks",
                     fmt::join(what, ", "));
}

std::string preset(const RouterOptions& o) {
  const RouterPreset& kind = find_preset(o.router_preset);
  const std::vector<std::string> others = departures_from_preset(o);
  return fmt::format("{}: {}. After {}. {}{}", kind.name, kind.help, kind.source, kind.notes,
                     others.empty() ? "" : fmt::format(" Here with {}.", fmt::join(others, ", ")));
}

// Options of one reason stand together.
std::string unused(const RouterOptions& o) {
  std::vector<std::pair<std::string, std::vector<std::string>>> by_reason;
  for (const UnusedOption& option : unused_options(o)) {
    const auto same = std::find_if(by_reason.begin(), by_reason.end(),
                                   [&](const auto& entry) { return entry.first == option.reason; });
    if (same == by_reason.end()) {
      by_reason.push_back({option.reason, {option.name}});
    } else {
      same->second.push_back(option.name);
    }
  }
  std::vector<std::string> parts;
  for (const auto& [reason, names] : by_reason) parts.push_back(fmt::format("{} ({})", fmt::join(names, ", "), reason));
  return fmt::format("{}", fmt::join(parts, "; "));
}

}  // namespace

std::vector<Explained> explain(const RouterOptions& o, const RoutedTokens& tokens) {
  std::vector<Explained> result;
  result.push_back(
      {"router", fmt::format("{}: {}; E = {} experts, k = {:.4g}{}, groups of S = {} tokens, {} a step", o.router,
                             find_router(o.router).help, o.experts, mean_choices(o),
                             o.router == "bernoulli" ? " on average" : "", tokens.in_group, tokens.groups)});
  if (!o.router_preset.empty()) result.push_back({"preset", preset(o)});
  result.push_back({"scores", scores(o)});
  result.push_back({"experts", selection(o)});
  result.push_back({"gates", gates(o)});
  if (o.router == "topk" && o.top_k == 2) result.push_back({"second", second(o)});
  result.push_back({"capacity", capacity(o, tokens)});
  if (is_limited(o) && o.router != "expert_choice") result.push_back({"order", order(o)});
  if (is_limited(o)) result.push_back({"overflow", overflow(o)});
  result.push_back({"losses", losses(o)});
  result.push_back({"drawn", draws(o)});
  result.push_back({"no effect", unused(o)});
  for (const std::string& warning : router_warnings(o)) result.push_back({"note", warning});
  return result;
}

std::string formula_of(CapacityFormula formula) {
  switch (formula) {
    case CapacityFormula::standard:
      return "ceil(cf k S / E)";
    case CapacityFormula::mesh:
      return "int(S cf / E)";
    case CapacityFormula::lingvo:
      return "int(S cf / E), 0 becomes 4, rounded up to a multiple of 4,";
    case CapacityFormula::flaxformer:
      return "round(S cf / E)";
    case CapacityFormula::deepspeed:
      return "ceil((S / E) cf k)";
    case CapacityFormula::tutel:
      return "k int(cf ceil(S / E))";
    case CapacityFormula::fastmoe:
      return "int(ceil(cf S) k / E)";
    case CapacityFormula::megatron:
      return "ceil((S k / E) cf)";
    case CapacityFormula::megablocks:
      return "int(cf k S / E), 0 is no limit,";
  }
  invariant(false, "a capacity formula of number {}", static_cast<int>(formula));
  return {};
}

std::vector<std::string> router_warnings(const RouterOptions& o) {
  std::vector<std::string> warnings;
  if (o.router == "expert_choice") {
    warnings.emplace_back(
        "router = expert_choice lets later tokens decide which experts an earlier one gets: a causal language model "
        "sees its future in training, so its loss is better than generated text will be");
  }
  if (o.router == "topk" && o.top_k == 1 && o.normalise != Normalise::none) {
    warnings.emplace_back(
        "with top_k = 1 a normalised gate is always 1, so only the balance and z losses train the router; "
        "--normalise none lets the gate scale its expert");
  }
  return warnings;
}

}  // namespace conclave::gating
