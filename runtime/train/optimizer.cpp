// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/optimizer.hpp"

#include "runtime/train/adamw.hpp"
#include "runtime/train/sgd.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace conclave::train {
namespace {

void refuse_unless(bool holds, std::string_view name, double value, const std::string& hint) {
  if (!holds) throw InputError(fmt::format("{} = {}", name, value), hint);
}

bool is_frozen(const OptimizerOptions& o, ModelPart part) {
  return std::ranges::find(o.freeze, name_of(part)) != o.freeze.end();
}

void validate_freeze(const OptimizerOptions& o) {
  std::vector<std::string> names;
  for (const auto& entry : enum_names(ModelPart{})) names.emplace_back(entry.name);
  for (const std::string& word : o.freeze) {
    if (std::ranges::find(names, word) != names.end()) continue;
    throw InputError(fmt::format("freeze has '{}'{}", word, did_you_mean(nearest_names(word, names))),
                     fmt::format("what can be frozen is: {}", fmt::join(names, ", ")));
  }
  const bool any_moves =
      std::ranges::any_of(enum_names(ModelPart{}), [&](const auto& entry) { return !is_frozen(o, entry.value); });
  if (!any_moves) {
    throw InputError(fmt::format("freeze = {} leaves nothing to train", fmt::join(o.freeze, ",")),
                     "leave one of them out; to measure a model as it is use: conclave evaluate");
  }
}

}  // namespace

void describe(OptimizerOptions& o, OptionTable& table) {
  std::vector<std::string> kinds;
  for (const OptimizerKind& kind : optimizer_kinds()) kinds.push_back(fmt::format("{} ({})", kind.name, kind.help));
  table.add("optimizer", o.optimizer, fmt::format("{}", fmt::join(kinds, ", ")));
  table.add("learning_rate", o.learning_rate, "at the peak");
  table.add("schedule", o.schedule, "of the learning rate after the warm-up");
  table.add("warmup_steps", o.warmup_steps, "steps of linear rise of the learning rate");
  table.add("final_rate", o.final_rate, "cosine: the last learning rate, as a part of the peak");
  table.add("weight_decay", o.weight_decay, "decoupled decay of matrices, a unit of learning rate");
  table.add("beta1", o.beta1, "adamw: decay of the gradient's mean");
  table.add("beta2", o.beta2, "adamw: decay of its square's mean");
  table.add("epsilon", o.epsilon, "adamw: added to the root of the latter");
  table.add("momentum", o.momentum, "sgd: part of the last update that is kept");
  table.add("clip_norm", o.clip_norm, "the gradient is scaled down to this global norm; 0: never");
  table.add("gate_every", o.gate_every, "routers move only in every n-th step, by that step's gradient");
  table.add("freeze", o.freeze, "parts that are never changed, with commas: gate, experts, dense (all else)");
}

void validate(const OptimizerOptions& o) {
  refuse_unless(o.learning_rate >= 0.0 && std::isfinite(o.learning_rate), "learning_rate", o.learning_rate,
                "give a finite number of at least 0");
  refuse_unless(o.warmup_steps >= 0, "warmup_steps", static_cast<double>(o.warmup_steps), "give 0 or more");
  refuse_unless(o.final_rate >= 0.0 && o.final_rate <= 1.0, "final_rate", o.final_rate,
                "it is a part of the peak, 0 to 1");
  refuse_unless(o.weight_decay >= 0.0 && std::isfinite(o.weight_decay), "weight_decay", o.weight_decay,
                "give 0 or more");
  refuse_unless(o.beta1 >= 0.0 && o.beta1 < 1.0, "beta1", o.beta1, "it lies in [0, 1)");
  refuse_unless(o.beta2 >= 0.0 && o.beta2 < 1.0, "beta2", o.beta2, "it lies in [0, 1)");
  refuse_unless(o.epsilon > 0.0 && o.epsilon <= 1.0, "epsilon", o.epsilon, "give a small positive number");
  refuse_unless(o.momentum >= 0.0 && o.momentum < 1.0, "momentum", o.momentum, "it lies in [0, 1)");
  refuse_unless(o.clip_norm >= 0.0, "clip_norm", o.clip_norm, "give 0 (never clip) or a positive norm");
  refuse_unless(o.gate_every >= 1, "gate_every", static_cast<double>(o.gate_every), "give 1 (every step) or more");
  validate_freeze(o);
  static_cast<void>(make_optimizer(o));  // throws for an unknown name
}

bool moves(const OptimizerOptions& o, ModelPart part, Index step) {
  return !is_frozen(o, part) && (part != ModelPart::gate || (step + 1) % o.gate_every == 0);
}

Index updates_before(const OptimizerOptions& o, ModelPart part, Index step) {
  return part == ModelPart::gate ? step / o.gate_every : step;
}

double learning_rate(const OptimizerOptions& o, Index step, Index total) {
  if (step < o.warmup_steps) {
    return o.learning_rate * static_cast<double>(step + 1) / static_cast<double>(o.warmup_steps);
  }
  if (o.schedule == Schedule::constant || total <= o.warmup_steps) return o.learning_rate;
  const double progress =
      std::min(1.0, static_cast<double>(step - o.warmup_steps) / static_cast<double>(total - o.warmup_steps));
  const double wave = 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  return o.learning_rate * (o.final_rate + (1.0 - o.final_rate) * wave);
}

const std::vector<OptimizerKind>& optimizer_kinds() {
  static const std::vector<OptimizerKind> kinds = {
      {"adamw", "Loshchilov & Hutter 2019", make_adamw},
      {"sgd", "with momentum", make_sgd},
  };
  return kinds;
}

std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options) {
  std::vector<std::string> names;
  for (const OptimizerKind& kind : optimizer_kinds()) {
    if (kind.name == options.optimizer) return kind.make(options);
    names.emplace_back(kind.name);
  }
  throw InputError(fmt::format("there is no optimizer '{}'{}", options.optimizer,
                               did_you_mean(nearest_names(options.optimizer, names))),
                   fmt::format("the optimizers are: {}", fmt::join(names, ", ")));
}

}  // namespace conclave::train
