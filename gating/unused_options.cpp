// SPDX-License-Identifier: BSD-3-Clause
#include "gating/unused_options.hpp"

#include "gating/router.hpp"

#include <map>

namespace conclave::gating {
namespace {

/// Collects names with the first reason that is found for each.
class Unused {
 public:
  void add_if(bool holds, std::initializer_list<const char*> names, const std::string& reason) {
    if (!holds) return;
    for (const char* name : names) reasons_.try_emplace(name, reason);
  }

  // In the order of the description, which the table gives.
  [[nodiscard]] std::vector<UnusedOption> in_order(RouterOptions options) const {
    OptionTable table;
    describe(options, table);
    std::vector<UnusedOption> result;
    for (const Option& option : table.options()) {
      const auto found = reasons_.find(option.name);
      if (found != reasons_.end()) result.push_back({option.name, found->second});
    }
    invariant(result.size() == reasons_.size(), "{} of {} unused options are described", result.size(),
              reasons_.size());
    return result;
  }

 private:
  std::map<std::string, std::string> reasons_;
};

bool formula_has_k(CapacityFormula formula) {
  return formula != CapacityFormula::mesh && formula != CapacityFormula::lingvo &&
         formula != CapacityFormula::flaxformer;
}

void add_scores(const RouterOptions& o, Unused& unused) {
  const std::string router = "router = " + o.router;
  unused.add_if(!find_router(o.router).has_scores,
                {"gate", "gate_width", "scorer", "router_bias", "jitter", "noise", "c_z"}, router + " has no scores");
  unused.add_if(o.router != "topk",
                {"selection", "sinkhorn_iterations", "blocks", "blocks_kept", "normalise", "gate_scale",
                 "second_policy", "second_threshold", "priority", "overflow", "c_balance", "balance_scope",
                 "balance_count", "c_importance", "selection_bias", "bias_rate"},
                router + " does without");
  unused.add_if(o.gate == GateKind::linear, {"gate_width"}, "gate = linear has no inner width");
  unused.add_if(o.selection == Selection::score, {"sinkhorn_iterations"}, "selection = score");
  unused.add_if(o.blocks == 1, {"blocks_kept"}, "blocks = 1");
  unused.add_if(o.blocks > 1 && o.blocks_kept == o.blocks, {"blocks", "blocks_kept"}, "all blocks are kept");
}

void add_service(const RouterOptions& o, Unused& unused) {
  const bool unlimited = o.capacity_factor == 0.0 && o.eval_capacity_factor == 0.0;
  unused.add_if(o.router == "bernoulli", {"top_k"}, "router = bernoulli: each expert decides by itself");
  unused.add_if(
      o.router == "expert_choice" && !formula_has_k(o.capacity_formula), {"top_k"},
      fmt::format("router = expert_choice, and capacity_formula = {} is without k", name_of(o.capacity_formula)));
  unused.add_if(o.top_k != 2, {"second_policy", "second_threshold"}, fmt::format("top_k = {}, not 2", o.top_k));
  unused.add_if(o.second_policy != SecondPolicy::random && o.second_policy != SecondPolicy::random_late,
                {"second_threshold"}, fmt::format("second_policy = {}", name_of(o.second_policy)));
  unused.add_if(o.router == "expert_choice", {"capacity_scope"},
                "router = expert_choice: experts take from each group");
  unused.add_if(unlimited, {"capacity_formula", "capacity_scope", "min_capacity", "priority", "overflow"},
                "capacity_factor = eval_capacity_factor = 0: no limit");
}

void add_losses(const RouterOptions& o, Unused& unused) {
  unused.add_if(o.c_balance == 0.0, {"balance_scope", "balance_count"}, "c_balance = 0");
  unused.add_if(o.top_k == 1, {"balance_count"}, "top_k = 1");
  unused.add_if(!o.selection_bias, {"bias_rate"}, "selection_bias = no");
  unused.add_if(o.router != "least_loaded", {"load_weight"}, "for router = least_loaded");
  unused.add_if(o.router != "bernoulli", {"activation"}, "for router = bernoulli");
  unused.add_if(o.router != "rule", {"rules"}, "for router = rule");
}

}  // namespace

std::vector<UnusedOption> unused_options(const RouterOptions& options) {
  Unused unused;
  add_scores(options, unused);
  add_service(options, unused);
  add_losses(options, unused);
  return unused.in_order(options);
}

}  // namespace conclave::gating
