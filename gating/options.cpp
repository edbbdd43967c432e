// SPDX-License-Identifier: BSD-3-Clause
#include "gating/options.hpp"

#include "gating/router.hpp"

#include <cmath>

namespace conclave::gating {

void describe(RouterOptions& o, OptionTable& table) {
  table.add("router", o.router, "how tokens are given to experts: " + router_names());
  table.add("experts", o.experts, "experts of an MoE layer, over all ranks");
  table.add("top_k", o.top_k, "experts a token chooses");
  table.add("scorer", o.scorer, "score of an expert: softmax over experts, or a sigmoid each");
  table.add("router_bias", o.router_bias, "give the router's logits a learned bias");
  table.add("blocks", o.blocks, "blocks of experts for node-limited routing; 1: off");
  table.add("blocks_kept", o.blocks_kept, "blocks a token may choose from");
  table.add("jitter", o.jitter, "router input times 1 +- this, at random, in training");
  table.add("noise", o.noise, "learned normal noise on the logits in training (noisy top-k)");
  table.add("normalise", o.normalise, "divide gates by their sum over the selected or over the kept choices");
  table.add("gate_scale", o.gate_scale, "factor on all gates, after normalising");
  table.add("second_policy", o.second_policy,
            "top-2: ask for the second expert always, or in training at random by its gate (GShard)");
  table.add("capacity_factor", o.capacity_factor,
            "slots of an expert a group, times top_k*tokens/experts; 0: no limit");
  table.add("eval_capacity_factor", o.eval_capacity_factor, "the same in evaluation");
  table.add("min_capacity", o.min_capacity, "least slots of an expert a group");
  table.add("priority", o.priority,
            "who gets a slot first: by position (all first choices, then all second, ...) or by score");
  table.add("overflow", o.overflow, "a choice that finds its expert full is dropped, or goes to the best free expert");
  table.add("c_balance", o.c_balance, "coefficient of the load-balancing loss");
  table.add("balance_scope", o.balance_scope, "balance within each group, or over the step");
  table.add("balance_count", o.balance_count, "count all choices, or first choices only");
  table.add("c_z", o.c_z, "coefficient of the router's z-loss");
  table.add("c_importance", o.c_importance, "coefficient of the importance loss");
  table.add("selection_bias", o.selection_bias, "loss-free balancing: a bias on selection, moved after every step");
  table.add("bias_rate", o.bias_rate, "how far the selection bias moves a step");
}

namespace {

void refuse_unless(bool holds, const std::string& message, const std::string& hint) {
  if (!holds) throw InputError(message, hint);
}

void refuse_negative(double value, std::string_view name) {
  refuse_unless(std::isfinite(value) && value >= 0.0,
                fmt::format("{} = {} is not a finite number of at least 0", name, value),
                "give a finite number of 0 or more");
}

}  // namespace

void validate(const RouterOptions& o) {
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
  refuse_unless(o.jitter >= 0.0 && o.jitter < 1.0, fmt::format("jitter = {}", o.jitter), "jitter is in [0, 1)");
  refuse_negative(o.capacity_factor, "capacity_factor");
  refuse_negative(o.eval_capacity_factor, "eval_capacity_factor");
  refuse_unless(o.min_capacity >= 0, fmt::format("min_capacity = {}", o.min_capacity), "give it a value of 0 or more");
  refuse_unless(std::isfinite(o.gate_scale) && o.gate_scale != 0.0, fmt::format("gate_scale = {}", o.gate_scale),
                "give it a finite value other than 0");
  refuse_negative(o.c_balance, "c_balance");
  refuse_negative(o.c_z, "c_z");
  refuse_negative(o.c_importance, "c_importance");
  refuse_negative(o.bias_rate, "bias_rate");
  static_cast<void>(find_router(o.router));  // throws for an unknown name
}

}  // namespace conclave::gating
