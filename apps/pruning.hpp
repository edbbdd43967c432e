// SPDX-License-Identifier: BSD-3-Clause
// Which experts a model can do without, and what they are merged into rather than removed.
#pragma once

#include "apps/changed_model.hpp"
#include "runtime/train/expert_edit.hpp"

namespace conclave::apps {

/// What an expert is worth on held-out data.
struct ExpertWorth {
  Index layer = 0;  // MoE layer
  ExpertId expert{0};
  double load = 0.0;  // of the layer's claims
  double rise = 0.0;  // of the loss if the expert's results are 0 [nats]
};

/// How many experts of each layer to remove: `asked` of them, or, below 1, that part, rounded down. InputError if that
/// is none, or leaves fewer than a token chooses.
[[nodiscard]] Index pruned_experts(double asked, const model::ModelOptions& options);

/// The worth of every expert of every MoE layer, in order. Costs an evaluation for each expert that has tokens; the
/// model is afterwards what it was.
[[nodiscard]] std::vector<ExpertWorth> worth_of_experts(LoadedModel& loaded, const MeasureOptions& o,
                                                        const Session& session);

/// The `count` experts of each layer without which the loss rises least; ties: those with less load, then higher
/// numbers.
[[nodiscard]] train::ExpertsOfLayers least_worth(std::vector<ExpertWorth> worth, Index count);

/// A line an expert.
[[nodiscard]] std::string text_of(const std::vector<ExpertWorth>& worth);

/// An expert that becomes part of another one of its layer.
struct Merger {
  Index layer = 0;  // MoE layer
  ExpertId expert{0};
  ExpertId into{0};
  double rise = 0.0;  // of the loss if the other one computes in its place [nats]
};

/// For each of the pruned experts the one that stays and is most alike: of the three with the most similar routing rows
/// (cosine; of all, where the router has none), the one that raises the held-out loss least when it computes in the
/// pruned one's place. Costs up to three evaluations for each; the model is afterwards what it was. InputError if none
/// of its shape stays.
[[nodiscard]] std::vector<Merger> mergers_of(LoadedModel& loaded, const train::ExpertsOfLayers& pruned,
                                             const MeasureOptions& o, const Session& session);

/// What becomes one expert in each of `num_layers` layers, with shares by how often each was chosen; equal ones if none
/// of them was.
[[nodiscard]] std::vector<std::vector<train::ExpertOrigin>> merged_origins(const std::vector<Merger>& mergers,
                                                                           const std::vector<ExpertWorth>& worth,
                                                                           Index num_layers);

/// A line a merger.
[[nodiscard]] std::string text_of(const std::vector<Merger>& mergers);

}  // namespace conclave::apps
