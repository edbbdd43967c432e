// SPDX-License-Identifier: BSD-3-Clause
// How a gradient moves parameters: element by element, so it can be applied to any part of them.
#pragma once

#include "runtime/core/options.hpp"

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace conclave::train {

enum class Schedule { constant, cosine };

inline constexpr std::array<EnumName<Schedule>, 2> enum_names(Schedule) {
  return {{{Schedule::constant, "constant"}, {Schedule::cosine, "cosine"}}};
}

/// The parts of a model that can be kept as they are while others are trained:
///   gate     routers, with their selection biases
///   experts  routed and shared experts, and what they have in common
///   dense    everything else: embedding, attention, norms, dense feed-forwards, head
enum class ModelPart { gate, experts, dense };

inline constexpr std::array<EnumName<ModelPart>, 3> enum_names(ModelPart) {
  return {{{ModelPart::gate, "gate"}, {ModelPart::experts, "experts"}, {ModelPart::dense, "dense"}}};
}

struct OptimizerOptions {
  std::string optimizer = "adamw";
  double learning_rate = 1e-3;
  Schedule schedule = Schedule::cosine;
  Index warmup_steps = 100;
  double final_rate = 0.1;
  double weight_decay = 0.1;
  double beta1 = 0.9;
  double beta2 = 0.99;
  double epsilon = 1e-8;
  double momentum = 0.9;
  double clip_norm = 1.0;
  Index gate_every = 1;
  std::vector<std::string> freeze;  // names of ModelPart
};

void describe(OptimizerOptions& options, OptionTable& table);

/// InputError for values out of range.
void validate(const OptimizerOptions& options);

/// The learning rate of step `step` (from 0) of `total`: a linear rise over warmup_steps, then constant or a half
/// cosine down to final_rate times the peak (Loshchilov & Hutter 2017).
[[nodiscard]] double learning_rate(const OptimizerOptions& options, Index step, Index total);

/// Whether step `step` (from 0) changes a part of the model.
[[nodiscard]] bool moves(const OptimizerOptions& options, ModelPart part, Index step);

/// Updates that a part has had before step `step`, if it moves in that step.
[[nodiscard]] Index updates_before(const OptimizerOptions& options, ModelPart part, Index step);

/// What one update is given beside the arrays.
struct Update {
  double learning_rate = 0.0;
  double weight_decay = 0.0;    // 0 for tensors that do not decay
  double gradient_scale = 1.0;  // norm clipping
  Index step = 0;               // updates done before this one
};

/// A rule with some arrays of state, each as long as the parameters, zero before the first update.
class Optimizer {
 public:
  static constexpr std::size_t most_states = 2;
  virtual ~Optimizer() = default;
  /// The names of the state arrays, as checkpoints have them; at most most_states.
  [[nodiscard]] virtual std::vector<std::string> states() const = 0;
  /// values, gradient and each of state: [n]. No element looks at another.
  virtual void apply(const Update& update, std::span<float> values, std::span<const float> gradient,
                     std::span<const std::span<float>> state) const = 0;
};

/// A member of the family.
struct OptimizerKind {
  std::string_view name;
  std::string_view help;
  std::unique_ptr<Optimizer> (*make)(const OptimizerOptions& options);
};

[[nodiscard]] const std::vector<OptimizerKind>& optimizer_kinds();
/// InputError naming the valid ones for an unknown name.
[[nodiscard]] std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options);

}  // namespace conclave::train
