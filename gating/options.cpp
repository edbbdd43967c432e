// SPDX-License-Identifier: BSD-3-Clause
#include "gating/options.hpp"

#include "gating/presets.hpp"
#include "gating/router.hpp"
#include "gating/rule_table.hpp"

#include <cmath>

namespace conclave::gating {

std::vector<double> RouterOptions::load_weights() const {
  return load_weight.empty() ? std::vector<double>(static_cast<std::size_t>(experts), 1.0) : load_weight;
}

std::vector<double> RouterOptions::activations() const {
  if (!activation.empty()) return activation;
  return std::vector<double>(static_cast<std::size_t>(experts), 1.0 / static_cast<double>(experts));
}

void describe(RouterOptions& o, OptionTable& table) {
  table.add("router_preset", o.router_preset,
            "route as a published system does: " + preset_names() +
                "; sets the options below, except those that are given themselves");
  table.add("router", o.router, "how tokens are given to experts: " + router_names());
  table.add("experts", o.experts, "experts of an MoE layer, over all ranks");
  table.add("top_k", o.top_k, "experts a token chooses");
  table.add("gate", o.gate, "network that makes the scores: a matrix, one hidden layer, or cosines (Tutel)");
  table.add("gate_width", o.gate_width,
            "width inside an mlp or cosine gate; 0: the model's width, and half of it up to 256");
  table.add("scorer", o.scorer, "score of an expert: softmax over experts, or a sigmoid each");
  table.add("router_bias", o.router_bias, "give the router's logits a learned bias");
  table.add("selection", o.selection, "choose experts by score, or by a balanced assignment in training (sinkhorn)");
  table.add("sinkhorn_iterations", o.sinkhorn_iterations, "rounds of the balanced assignment");
  table.add("blocks", o.blocks, "blocks of experts for node-limited routing; 1: off");
  table.add("blocks_kept", o.blocks_kept, "blocks a token may choose from");
  table.add("jitter", o.jitter, "router input times 1 +- this, at random, in training");
  table.add("noise", o.noise, "learned normal noise on the logits in training (noisy top-k)");
  table.add("normalise", o.normalise, "divide gates by their sum over the selected or over the kept choices");
  table.add("gate_scale", o.gate_scale, "factor on all gates, after normalising");
  table.add(
      "second_policy", o.second_policy,
      "top-2: ask for the second expert always; or, in training, at random by its gate (GShard), before or, late, "
      "after it took a slot (FastMoE); or sample it in training (DeepSpeed)");
  table.add("second_threshold", o.second_threshold,
            "the random second expert is asked with probability gate / this, its gate a share of both (GShard: 0.5)");
  table.add("capacity_factor", o.capacity_factor, "slots of an expert, as a multiple of an even share; 0: no limit");
  table.add("eval_capacity_factor", o.eval_capacity_factor, "the same in evaluation");
  table.add("capacity_formula", o.capacity_formula,
            "slots from the factor: standard is ceil(factor*top_k*tokens/experts), the others are as that system's");
  table.add("capacity_scope", o.capacity_scope, "slots of an expert in each group, or in the whole step");
  table.add("min_capacity", o.min_capacity, "least slots of an expert");
  table.add("priority", o.priority,
            "who gets a slot first: by position (all first choices, then all second, ...), by score, by a token's best "
            "score (V-MoE), or at random in training");
  table.add("overflow", o.overflow, "a choice that finds its expert full is dropped, or goes to the best free expert");
  table.add("c_balance", o.c_balance, "coefficient of the load-balancing loss");
  table.add("balance_scope", o.balance_scope, "balance within each group, or over the step");
  table.add("balance_count", o.balance_count, "count all choices, or first choices only");
  table.add("c_z", o.c_z, "coefficient of the router's z-loss");
  table.add("c_importance", o.c_importance, "coefficient of the importance loss");
  table.add("selection_bias", o.selection_bias, "loss-free balancing: a bias on selection, moved after every step");
  table.add("bias_rate", o.bias_rate, "how far the selection bias moves a step");
  table.add("load_weight", o.load_weight, "least_loaded: the share of each expert; empty: equal");
  table.add("activation", o.activation, "bernoulli: the probability of each expert; empty: 1/experts");
  table.add("rules", o.rules, "rule: which experts serve which tokens, e.g. 'class digit -> 0,1; default -> 2,3'");
}

namespace {

void refuse_unless(bool holds, const std::string& message, const std::string& hint) {
  if (!holds) throw InputError(message, hint);
}

// Far more than the assignment takes to settle; a number without bounds would be a step without an end.
constexpr Index most_sinkhorn_iterations = 10000;

void refuse_negative(double value, std::string_view name) {
  refuse_unless(std::isfinite(value) && value >= 0.0,
                fmt::format("{} = {} is not a finite number of at least 0", name, value),
                "give a finite number of 0 or more");
}

void validate_choices(const RouterOptions& o) {
  refuse_unless(o.experts >= 1, fmt::format("experts = {}", o.experts), "an MoE layer has at least 1 expert");
  refuse_unless(o.experts <= largest_size, fmt::format("experts = {}", o.experts),
                fmt::format("give at most {}", largest_size));
  refuse_unless(o.top_k >= 1 && o.top_k <= o.experts, fmt::format("top_k = {} with experts = {}", o.top_k, o.experts),
                "a token chooses between 1 and all of the experts");
  refuse_unless(o.blocks >= 1 && o.experts % o.blocks == 0,
                fmt::format("blocks = {} with experts = {}", o.blocks, o.experts), "blocks must divide experts");
  refuse_unless(o.blocks_kept >= 1 && o.blocks_kept <= o.blocks,
                fmt::format("blocks_kept = {} with blocks = {}", o.blocks_kept, o.blocks),
                "keep between 1 and all of the blocks");
  const Index reachable = o.blocks_kept * (o.experts / o.blocks);
  refuse_unless(
      reachable >= o.top_k,
      fmt::format("top_k = {}, but the {} kept blocks hold only {} experts", o.top_k, o.blocks_kept, reachable),
      "keep more blocks, or choose fewer experts a token");
  refuse_unless(o.second_policy != SecondPolicy::sampled || o.blocks_kept == o.blocks,
                fmt::format("second_policy = sampled with blocks_kept = {} of {} blocks", o.blocks_kept, o.blocks),
                "a sampled second expert may stand in any block: keep all blocks");
}

void validate_numbers(const RouterOptions& o) {
  refuse_unless(o.gate_width >= 0 && o.gate_width <= largest_size, fmt::format("gate_width = {}", o.gate_width),
                fmt::format("give 0 (by the model's width) up to {}", largest_size));
  refuse_unless(o.sinkhorn_iterations >= 0 && o.sinkhorn_iterations <= most_sinkhorn_iterations,
                fmt::format("sinkhorn_iterations = {}", o.sinkhorn_iterations),
                fmt::format("give 0 to {}", most_sinkhorn_iterations));
  refuse_unless(o.jitter >= 0.0 && o.jitter < 1.0, fmt::format("jitter = {}", o.jitter), "jitter is in [0, 1)");
  refuse_unless(o.second_threshold > 0.0 && o.second_threshold <= 1.0,
                fmt::format("second_threshold = {}", o.second_threshold),
                "it is the share of the second gate from which on the expert is always asked: above 0, up to 1");
  refuse_negative(o.capacity_factor, "capacity_factor");
  refuse_negative(o.eval_capacity_factor, "eval_capacity_factor");
  refuse_unless(o.min_capacity >= 0, fmt::format("min_capacity = {}", o.min_capacity), "give it a value of 0 or more");
  refuse_unless(std::isfinite(o.gate_scale) && o.gate_scale != 0.0, fmt::format("gate_scale = {}", o.gate_scale),
                "give it a finite value other than 0");
  refuse_negative(o.c_balance, "c_balance");
  refuse_negative(o.c_z, "c_z");
  refuse_negative(o.c_importance, "c_importance");
  refuse_negative(o.bias_rate, "bias_rate");
}

// One positive number an expert, or none at all.
void validate_list(const std::vector<double>& values, std::string_view name, double most, const RouterOptions& o) {
  refuse_unless(values.empty() || std::ssize(values) == o.experts,
                fmt::format("{} has {} numbers for experts = {}", name, values.size(), o.experts),
                "give one for each expert, or none");
  for (const double value : values) {
    refuse_unless(
        std::isfinite(value) && value > 0.0 && value <= most, fmt::format("{} has {}", name, value),
        std::isinf(most) ? "give finite numbers above 0" : fmt::format("give numbers above 0, up to {}", most));
  }
}

void validate_reroute(const RouterOptions& o) {
  if (o.overflow != Overflow::reroute) return;
  const auto refuse = [](const std::string& with) {
    throw InputError("overflow = reroute with " + with,
                     "re-routing looks for the best free expert by score, in a group: use it with router = topk, "
                     "selection = score, capacity_scope = group and a second_policy of all or random, or drop");
  };
  if (o.router != "topk") refuse("router = " + o.router);
  if (o.selection != Selection::score) refuse("selection = sinkhorn");
  if (o.capacity_scope != CapacityScope::group) refuse("capacity_scope = step");
  if (o.second_policy == SecondPolicy::random_late) refuse("second_policy = random_late");
}

void validate_combinations(const RouterOptions& o) {
  refuse_unless(o.selection == Selection::score || o.router == "topk",
                fmt::format("selection = sinkhorn with router = {}", o.router), "sinkhorn is for router = topk");
  refuse_unless(o.selection == Selection::score || !o.selection_bias, "selection_bias with selection = sinkhorn",
                "sinkhorn balances by itself: leave the bias out, or select by score");
  if (o.router == "expert_choice") {
    refuse_unless(o.capacity_factor > 0.0 && o.eval_capacity_factor > 0.0,
                  fmt::format("router = expert_choice with capacity_factor = {} and eval_capacity_factor = {}",
                              o.capacity_factor, o.eval_capacity_factor),
                  "the capacity is the number of tokens that an expert takes: give both a value above 0");
    refuse_unless(o.capacity_scope == CapacityScope::group, "router = expert_choice with capacity_scope = step",
                  "experts take their tokens from each group: use capacity_scope = group");
  }
  if (o.router == "rule") {
    refuse_unless(!o.rules.empty(), "router = rule without rules",
                  "give --rule-file FILE, or --rules 'class digit -> 0,1; default -> 2,3'");
    static_cast<void>(RuleTable(o.rules, "rules", {o.experts, o.top_k, {}}));
  } else {
    refuse_unless(o.rules.empty(), fmt::format("rules with router = {}", o.router), "they are for router = rule");
  }
}

}  // namespace

void validate(const RouterOptions& o) {
  validate_choices(o);
  validate_numbers(o);
  validate_list(o.load_weight, "load_weight", std::numeric_limits<double>::infinity(), o);
  validate_list(o.activation, "activation", 1.0, o);
  static_cast<void>(find_router(o.router));  // throws for an unknown name
  if (!o.router_preset.empty()) static_cast<void>(find_preset(o.router_preset));
  validate_reroute(o);
  validate_combinations(o);
}

}  // namespace conclave::gating
