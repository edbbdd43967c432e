// SPDX-License-Identifier: BSD-3-Clause
// A trained model with other experts: more, fewer, narrower, merged. What the edited model's experts are made of is a
// plan; carrying it out changes a checkpoint's options, its parameters and its optimizer's state.
//
// Cutting (cut_experts). With m parts, every expert e becomes m experts of a 1/m of its hidden width, whose routing
// rows are e's, and a token chooses m k of them:
//   f_e(x) = W2 a(W1 x + b1) + b2 = sum over parts i of W2[:, i] a(W1[i] x + b1[i]) + b2
// The parts of an expert are numbered one after another and have equal scores, and ties go to the lower number: so the
// m k best are all parts of the k best, their claims are served in the same order, and of every m parts each has m
// times fewer tokens a slot: capacity k S / E does not change. With softmax, or gates that are normalised or fixed,
// each part's gate is g / m; so W2 is multiplied by m, and b2 stays: the sum of m equal terms g/m b2. Of sigmoid scores
// that are not normalised each part has the whole gate: W2 stays, and b2 is divided by m. Outputs, the balance loss and
// the drops are as before to rounding; the z loss, of a logsumexp that is larger by ln m, is not.
//
// Adding (add_experts). A new expert is a copy with its logits lowered: a top-k choice passes it over while k experts
// have larger ones, and its share of the softmax is exp of what they are lowered by. What it computes then is as before
// to rounding if that is below a float's. Capacity factors grow with the number of experts: an expert keeps its slots.
//
// Removing and merging change what the model computes, unless nobody chose the expert, or the two were equal. Experts
// are merged as means of their weights, the hidden units of each in the order in which they are most alike those of the
// first, and of their routing rows (M-SMoE, Li et al. 2024: shares by how often experts were chosen).
#pragma once

#include "runtime/model/options.hpp"
#include "runtime/train/checkpoint_contents.hpp"

namespace conclave::train {

/// What one expert of the edited model is made of.
struct ExpertOrigin {
  std::vector<ExpertId> experts;  // one, or those that are merged
  std::vector<double> shares;     // of each in the mean; they sum to 1
  Index part = 0;                 // of `parts` of the hidden width
  double logit = 0.0;             // added to its logits
  bool is_new = false;            // has no optimizer state yet
};

struct ExpertEdit {
  std::vector<std::vector<ExpertOrigin>> layers;  // [MoE layers][experts]: of the edited model, in every layer as many
  Index parts = 1;                                // that every expert is cut into
  [[nodiscard]] Index num_experts() const { return layers.empty() ? 0 : std::ssize(layers.front()); }
};

/// The experts of each MoE layer that an edit is about.
using ExpertsOfLayers = std::vector<std::vector<ExpertId>>;

/// Plans for a model of `options`. InputError where the model cannot be edited so: experts that have no hidden width to
/// cut or an undivided one, numbers out of range, layers of different numbers of experts, rules that name experts.
[[nodiscard]] ExpertEdit cut_experts(const model::ModelOptions& options, Index parts);
/// `copied`: in each layer, of which experts there are to be copies, behind the others.
[[nodiscard]] ExpertEdit add_experts(const model::ModelOptions& options, const ExpertsOfLayers& copied, double logit);
[[nodiscard]] ExpertEdit remove_experts(const model::ModelOptions& options, const ExpertsOfLayers& removed);
/// `merged`: in each layer pairs, one behind the other: the second becomes part of the first, half and half.
[[nodiscard]] ExpertEdit merge_experts(const model::ModelOptions& options, const ExpertsOfLayers& merged);
/// `merged`: in each layer, of what experts become one in the place of their first, with their shares; every layer
/// loses as many experts.
[[nodiscard]] ExpertEdit merge_experts(const model::ModelOptions& options,
                                       const std::vector<std::vector<ExpertOrigin>>& merged);

/// Why the edited model does not compute what the model did, a sentence each; none: it does, to rounding.
[[nodiscard]] std::vector<std::string> changes_of(const ExpertEdit& edit, const model::ModelOptions& options);

/// The options of the edited model. InputError where experts of different shapes would be in different places in
/// different layers.
[[nodiscard]] model::ModelOptions edited_options(const ExpertEdit& edit, const model::ModelOptions& options);

/// Carries the edit out. Optimizer states are carried over: those of parts as far as their gradients are known to be
/// the whole's (routing rows share theirs equally), of merged experts as a mean; those of new experts are zero.
void apply(const ExpertEdit& edit, CheckpointContents& contents);

/// Sets the smallest weights of each expert to 0, by magnitude over all of its matrices: that part of them, rounded
/// down; ties: those that come first. Biases stay.
void zero_smallest_weights(double part, WholeTensors& tensors);

}  // namespace conclave::train
