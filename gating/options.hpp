// SPDX-License-Identifier: BSD-3-Clause
// What a router can be asked for. The names are those of the reference cases.
#pragma once

#include "runtime/core/options.hpp"

#include <array>

namespace conclave::gating {

enum class GateKind { linear, mlp, cosine };
enum class Scorer { softmax, sigmoid };
enum class Selection { score, sinkhorn };
enum class Normalise { none, selected, kept };
enum class SecondPolicy { all, random, random_late, sampled };
enum class CapacityFormula { standard, mesh, lingvo, flaxformer, deepspeed, tutel, fastmoe, megatron, megablocks };
enum class CapacityScope { group, step };
enum class Priority { position, probability, best_token, random };
enum class Overflow { drop, reroute };
enum class BalanceScope { group, step };
enum class BalanceCount { all, first };

inline constexpr std::array<EnumName<GateKind>, 3> enum_names(GateKind) {
  return {{{GateKind::linear, "linear"}, {GateKind::mlp, "mlp"}, {GateKind::cosine, "cosine"}}};
}
inline constexpr std::array<EnumName<Scorer>, 2> enum_names(Scorer) {
  return {{{Scorer::softmax, "softmax"}, {Scorer::sigmoid, "sigmoid"}}};
}
inline constexpr std::array<EnumName<Selection>, 2> enum_names(Selection) {
  return {{{Selection::score, "score"}, {Selection::sinkhorn, "sinkhorn"}}};
}
inline constexpr std::array<EnumName<Normalise>, 3> enum_names(Normalise) {
  return {{{Normalise::none, "none"}, {Normalise::selected, "selected"}, {Normalise::kept, "kept"}}};
}
inline constexpr std::array<EnumName<SecondPolicy>, 4> enum_names(SecondPolicy) {
  return {{{SecondPolicy::all, "all"},
           {SecondPolicy::random, "random"},
           {SecondPolicy::random_late, "random_late"},
           {SecondPolicy::sampled, "sampled"}}};
}
inline constexpr std::array<EnumName<CapacityFormula>, 9> enum_names(CapacityFormula) {
  return {{{CapacityFormula::standard, "standard"},
           {CapacityFormula::mesh, "mesh"},
           {CapacityFormula::lingvo, "lingvo"},
           {CapacityFormula::flaxformer, "flaxformer"},
           {CapacityFormula::deepspeed, "deepspeed"},
           {CapacityFormula::tutel, "tutel"},
           {CapacityFormula::fastmoe, "fastmoe"},
           {CapacityFormula::megatron, "megatron"},
           {CapacityFormula::megablocks, "megablocks"}}};
}
inline constexpr std::array<EnumName<CapacityScope>, 2> enum_names(CapacityScope) {
  return {{{CapacityScope::group, "group"}, {CapacityScope::step, "step"}}};
}
inline constexpr std::array<EnumName<Priority>, 4> enum_names(Priority) {
  return {{{Priority::position, "position"},
           {Priority::probability, "probability"},
           {Priority::best_token, "best_token"},
           {Priority::random, "random"}}};
}
inline constexpr std::array<EnumName<Overflow>, 2> enum_names(Overflow) {
  return {{{Overflow::drop, "drop"}, {Overflow::reroute, "reroute"}}};
}
inline constexpr std::array<EnumName<BalanceScope>, 2> enum_names(BalanceScope) {
  return {{{BalanceScope::group, "group"}, {BalanceScope::step, "step"}}};
}
inline constexpr std::array<EnumName<BalanceCount>, 2> enum_names(BalanceCount) {
  return {{{BalanceCount::all, "all"}, {BalanceCount::first, "first"}}};
}

/// The router of an MoE layer: how tokens are scored, which experts they choose, what fits, and which losses keep the
/// load even.
struct RouterOptions {
  std::string router_preset;  // what the other options were taken from, see presets.hpp; empty: nothing
  std::string router = "topk";
  Index experts = 8;
  Index top_k = 2;
  GateKind gate = GateKind::linear;
  Index gate_width = 0;
  Scorer scorer = Scorer::softmax;
  bool router_bias = false;
  Selection selection = Selection::score;
  Index sinkhorn_iterations = 8;
  Index blocks = 1;
  Index blocks_kept = 1;
  double jitter = 0.0;
  bool noise = false;
  Normalise normalise = Normalise::selected;
  double gate_scale = 1.0;
  SecondPolicy second_policy = SecondPolicy::all;
  double second_threshold = 0.5;
  double capacity_factor = 1.25;
  double eval_capacity_factor = 2.0;
  CapacityFormula capacity_formula = CapacityFormula::standard;
  CapacityScope capacity_scope = CapacityScope::group;
  Index min_capacity = 4;
  Priority priority = Priority::position;
  Overflow overflow = Overflow::drop;
  double c_balance = 0.01;
  BalanceScope balance_scope = BalanceScope::group;
  BalanceCount balance_count = BalanceCount::all;
  double c_z = 0.001;
  double c_importance = 0.0;
  bool selection_bias = false;
  double bias_rate = 0.001;
  std::vector<double> load_weight;  // least_loaded: one an expert, or empty: 1 each
  std::vector<double> activation;   // bernoulli: one an expert, or empty: 1/experts each
  std::string rules;                // rule: see rule_table.hpp

  /// The least_loaded router's weight and the bernoulli router's probability of each expert.
  [[nodiscard]] std::vector<double> load_weights() const;
  [[nodiscard]] std::vector<double> activations() const;
};

void describe(RouterOptions& options, OptionTable& table);

/// InputError, with the values and the remedy, for options that no router can be built from: each value by itself and
/// all together.
void validate(const RouterOptions& options);

}  // namespace conclave::gating
