// SPDX-License-Identifier: BSD-3-Clause
// A trained language model that another one learns from.
#pragma once

#include "runtime/model/language_model.hpp"
#include "runtime/train/distil_options.hpp"

namespace conclave::train {

class Teacher {
 public:
  /// `model` lies on the ranks that train, and outlives this. options: of the run that learns from it.
  Teacher(model::LanguageModel<float>& model, const DistilOptions& options) : model_(model), options_(options) {}

  /// What it says after each token of a student's step, valid until the next call. It computes as in evaluation: no
  /// random draws, its own capacity factor of evaluation; the same bits on any number of ranks. Collective.
  [[nodiscard]] model::SoftTargets<float> targets(const model::Step& step, std::span<const std::int32_t> tokens) {
    times_.clear();
    model::Step own = step;
    own.training = false;
    own.notes_not_finite = false;
    own.times = &times_;  // its layers are not the student's
    return {model_.logits(own, tokens), options_.distil_weight, options_.temperature};
  }

 private:
  model::LanguageModel<float>& model_;
  DistilOptions options_;
  PhaseTimes times_;
};

}  // namespace conclave::train
