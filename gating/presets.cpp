// SPDX-License-Identifier: BSD-3-Clause
#include "gating/presets.hpp"

namespace conclave::gating {
namespace {

// What most presets begin with, beside the defaults: raw gates, no limit of capacity, no loss.
void begin_plain(RouterOptions& o) {
  o.normalise = Normalise::none;
  o.capacity_factor = o.eval_capacity_factor = 0.0;
  o.min_capacity = 0;
  o.c_balance = o.c_z = o.c_importance = 0.0;
}

// The systems that take gates over the chosen experts alone leave the only gate of top-1 as it is, so that it learns.
Normalise unless_top1(const RouterOptions& o, Normalise normalise) {
  return o.top_k == 1 ? Normalise::none : normalise;
}

void limit(RouterOptions& o, CapacityFormula formula, double training, double evaluation, Index least) {
  o.capacity_formula = formula;
  o.capacity_factor = training;
  o.eval_capacity_factor = evaluation;
  o.min_capacity = least;
}

void balance(RouterOptions& o, double coefficient, BalanceCount count) {
  o.c_balance = coefficient;
  o.balance_count = count;
}

void gshard(RouterOptions& o) {
  begin_plain(o);
  limit(o, CapacityFormula::lingvo, 2.0, 2.0, 0);
  balance(o, 0.01, BalanceCount::first);
  o.normalise = unless_top1(o, Normalise::selected);
  o.second_policy = SecondPolicy::random;
}

void switch_transformer(RouterOptions& o) {
  begin_plain(o);
  limit(o, CapacityFormula::mesh, 1.25, 2.0, 4);
  balance(o, 0.01, BalanceCount::first);
  o.jitter = 0.01;
}

void st_moe(RouterOptions& o) {
  begin_plain(o);
  limit(o, CapacityFormula::mesh, 1.25, 2.0, 4);
  balance(o, 0.01, BalanceCount::first);
  o.c_z = 0.001;
  o.normalise = unless_top1(o, Normalise::selected);
  o.second_policy = SecondPolicy::random;
  o.second_threshold = 0.2;
}

void mixtral(RouterOptions& o) {
  begin_plain(o);
  // The system's loss sums over choices where ours is a mean: k times ours.
  balance(o, 0.02 * static_cast<double>(o.top_k), BalanceCount::all);
  o.normalise = Normalise::selected;
}

void deepseek_v3(RouterOptions& o) {
  begin_plain(o);
  balance(o, 1e-4, BalanceCount::all);
  o.scorer = Scorer::sigmoid;
  o.normalise = Normalise::selected;
  o.gate_scale = 2.5;
  o.selection_bias = true;
  o.bias_rate = 0.001;
  if (o.experts == 256 && o.blocks == 1) o.blocks = 8;
  o.blocks_kept = (o.blocks + 1) / 2;
}

void megatron(RouterOptions& o) {
  begin_plain(o);
  o.capacity_formula = CapacityFormula::megatron;
  balance(o, 0.01, BalanceCount::all);
  o.normalise = unless_top1(o, Normalise::selected);
  o.priority = Priority::probability;
}

void tutel(RouterOptions& o) {
  begin_plain(o);
  limit(o, CapacityFormula::tutel, 1.0, 1.0, 0);
  balance(o, 0.01, BalanceCount::first);
  o.normalise = unless_top1(o, Normalise::selected);
}

// top1gating, top2gating and topkgating have rules of their own.
void deepspeed(RouterOptions& o) {
  begin_plain(o);
  limit(o, CapacityFormula::deepspeed, 1.0, 1.0, 4);
  balance(o, 0.01, o.top_k > 2 ? BalanceCount::all : BalanceCount::first);
  o.normalise = unless_top1(o, Normalise::kept);
  if (o.top_k == 1) o.priority = Priority::random;
  if (o.top_k == 2) o.second_policy = SecondPolicy::sampled;
  if (o.top_k > 2) o.priority = Priority::probability;
}

void fastmoe_gshard(RouterOptions& o) {
  begin_plain(o);
  limit(o, CapacityFormula::fastmoe, 1.2, 2.4, 0);
  balance(o, 0.01, BalanceCount::first);
  o.router_bias = true;
  o.normalise = Normalise::selected;
  o.second_policy = SecondPolicy::random_late;
}

void expert_choice(RouterOptions& o) {
  begin_plain(o);
  limit(o, CapacityFormula::flaxformer, 2.0, 2.0, 4);
  o.router = "expert_choice";
}

void hash_layers(RouterOptions& o) {
  begin_plain(o);
  o.router = "hash";
}

void base_sinkhorn(RouterOptions& o) {
  begin_plain(o);
  o.selection = Selection::sinkhorn;
  o.scorer = o.top_k == 1 ? Scorer::sigmoid : Scorer::softmax;
}

// Gives `to` the values that `from` has for the options named.
void copy_named(RouterOptions from, const std::set<std::string>& names, RouterOptions& to) {
  OptionTable source;
  OptionTable target;
  describe(from, source);
  describe(to, target);
  for (const Option& option : source.options()) {
    if (names.contains(option.name)) target.assign(option.name, option.text());
  }
}

}  // namespace

const std::vector<RouterPreset>& router_presets() {
  static const std::vector<RouterPreset> presets = {
      {"gshard", "top-2 with a random second expert",
       "Lepikhin et al. 2021, GShard, algorithm 1; Lingvo, core/gshard_layers.py",
       "The paper gives the capacity as 2 S / E; rounding to a multiple of 4 is Lingvo's. Lingvo applies the random "
       "second expert in evaluation too; here it acts in training.",
       2, gshard},
      {"switch", "top-1 with jittered input",
       "Fedus et al. 2022, Switch Transformers; Mesh-TensorFlow, transformer/moe.py, _switch_gating",
       "Mesh-TensorFlow cuts groups of at most 1024 tokens by itself; here a group is what groups makes it.", 1,
       switch_transformer},
      {"st-moe", "top-2 with the z-loss",
       "Zoph et al. 2022, ST-MoE; Mesh-TensorFlow, transformer/moe.py, _top_2_gating",
       "The capacity factor is not multiplied by k, as in Mesh-TensorFlow. Mesh-TensorFlow applies the random second "
       "expert in evaluation too; here it acts in training.",
       2, st_moe},
      {"mixtral", "top-2 without a capacity limit",
       "Jiang et al. 2024, Mixtral of Experts; Hugging Face transformers, models/mixtral/modeling_mixtral.py",
       "Softmax over the two chosen logits is softmax over all, normalised over the chosen. The published loss takes "
       "load and probability over all layers and the whole batch at once; here it is each layer's and each group's, "
       "with the coefficient, the published model's 0.02, times k to the same scale.",
       2, mixtral},
      {"deepseek-v3", "top-8 by sigmoid scores, balanced without a loss by a selection bias",
       "DeepSeek-AI 2024, DeepSeek-V3 technical report; Megatron-Core, transformer/moe/moe_utils.py",
       "Node-limited routing (4 of 8 blocks) is on where experts = 256, as in the model; where blocks is given, half "
       "of them are kept. With fewer than 8 experts a token chooses all. The balance loss is by sequence where a group "
       "is one sequence, and counts the choices as the bias makes them, the report those of the scores alone.",
       8, deepseek_v3},
      {"megatron", "top-k, gates over the chosen, no capacity limit",
       "Shoeybi et al. 2019; Megatron-Core, transformer/moe/router.py and moe_utils.py",
       "Load and capacity of a micro-batch on a rank are those of a group here. Dropless as by default; with a "
       "capacity_factor Megatron's formula and its dropping by probability apply. 0.01 is the balance coefficient "
       "that its guide names, the default is 0. With top_k = 1 gates are taken before top-k (pre-softmax).",
       0, megatron},
      {"tutel", "top-k within capacity, first choices first",
       "Hwang et al. 2023, Tutel; Tutel, impls/fast_dispatch.py, gates/top.py and impls/losses.py",
       "S is a group's tokens; Tutel takes those of a rank. The coefficient of the loss is the caller's in Tutel; 0.01 "
       "here.",
       0, tutel},
      {"deepspeed", "top-1 at random order, top-2 with a sampled second expert, top-k by probability",
       "Rajbhandari et al. 2022, DeepSpeed-MoE; DeepSpeed, moe/sharded_moe.py and moe/layer.py",
       "S is a group's tokens; DeepSpeed takes those of a rank. DeepSpeed forms the capacity in float32, which may "
       "round up once more, and draws top-1's order and top-2's second expert in evaluation too; here in training. The "
       "coefficient of the loss is the caller's in DeepSpeed; 0.01 here.",
       0, deepspeed},
      {"fastmoe-gshard", "GShard's gate as FastMoE has it",
       "He et al. 2021, FastMoE; FastMoE, fmoe/gates/gshard_gate.py and naive_gate.py",
       "FastMoE's loss shrinks with the square of the number of ranks; this is that of one rank. Its slots go to "
       "whoever comes first in a race; here by position, which is one of the outcomes. The coefficient of the loss is "
       "the caller's in FastMoE; 0.01 here.",
       2, fastmoe_gshard},
      {"expert-choice", "each expert takes its best tokens",
       "Zhou et al. 2022, Mixture-of-Experts with Expert Choice Routing; flaxformer, architectures/moe/routing.py",
       "The factor is the mean number of experts of a token.", 0, expert_choice},
      {"hash-layers", "by a hash of the token's id, nothing learned",
       "Roller et al. 2021, Hash Layers for Large Sparse Models",
       "The paper's random hash; its balanced one, which knows how often each token comes, can be written as rules.", 1,
       hash_layers},
      {"base-sinkhorn", "top-1 by a balanced assignment in training",
       "Lewis et al. 2021, BASE Layers; Clark et al. 2022 (S-BASE); Megatron-Core, transformer/moe/moe_utils.py",
       "BASE solves the assignment exactly; Sinkhorn's rounds come near it, so loads are nearly and not quite even. "
       "Megatron-Core goes on until the weights hardly change, here sinkhorn_iterations is a fixed number. The "
       "assignment is a group's; BASE's is over all ranks.",
       1, base_sinkhorn},
  };
  return presets;
}

const RouterPreset& find_preset(std::string_view name) {
  std::vector<std::string> names;
  for (const RouterPreset& preset : router_presets()) {
    if (preset.name == name) return preset;
    names.emplace_back(preset.name);
  }
  throw InputError(fmt::format("there is no router preset '{}'{}", name, did_you_mean(nearest_names(name, names))),
                   fmt::format("the presets are: {}", fmt::join(names, ", ")));
}

std::string preset_names() {
  std::vector<std::string_view> names;
  for (const RouterPreset& preset : router_presets()) names.push_back(preset.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

void apply_preset(RouterOptions& options, const std::set<std::string>& given) {
  if (options.router_preset.empty()) return;
  const RouterPreset& preset = find_preset(options.router_preset);
  RouterOptions result;
  result.router_preset = options.router_preset;
  result.experts = options.experts;
  result.top_k = preset.top_k > 0 ? std::min(preset.top_k, options.experts) : options.top_k;
  copy_named(options, given, result);
  preset.apply(result);
  copy_named(options, given, result);
  options = result;
}

std::vector<std::string> departures_from_preset(const RouterOptions& options) {
  if (options.router_preset.empty()) return {};
  RouterOptions now = options;
  RouterOptions preset = options;
  // A top_k that the preset settles is compared, and the rest is what the preset has with the top_k that there is.
  apply_preset(preset, {"top_k"});
  const Index only_k = find_preset(options.router_preset).top_k;
  if (only_k > 0) preset.top_k = std::min(only_k, options.experts);
  OptionTable table;
  OptionTable expected;
  describe(now, table);
  describe(preset, expected);
  std::vector<std::string> result;
  for (const Option& option : table.options()) {
    const std::string other = expected.find(option.name)->text();
    if (option.text() == other || option.name == "rules") continue;
    result.push_back(fmt::format("{} = {} ({}: {})", option.name, option.text(), options.router_preset, other));
  }
  return result;
}

}  // namespace conclave::gating
