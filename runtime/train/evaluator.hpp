// SPDX-License-Identifier: BSD-3-Clause
// Measuring a model on held-out data.
#pragma once

#include "runtime/train/metrics.hpp"
#include "runtime/train/samples.hpp"

#include <functional>

namespace conclave::train {

/// What is evaluated at once. Capacity is by group, so a group here should have the size that it has in training.
struct EvaluationShape {
  Split split = Split::validation;
  Index sequences = 0;  // samples of it to look at, from the first; 0: all
  Index sequences_in_group = 1;
  Index groups_in_pass = 1;  // over all ranks
};

/// Looks at a pass after it: the layers still hold what they did with the step's tokens, which are the batch's.
using PassObserver = std::function<void(const model::Step& step, const Batch& batch)>;

/// The loss of `model` on samples that it may not have been trained on, with the capacity factor of evaluation and
/// without random draws; the same bits on any number of ranks. The last group may be smaller. What it is at is noted in
/// `whereabouts`, unless that is null; `observer`, if there is one, is called after every pass. Collective.
[[nodiscard]] Evaluation evaluate(model::Model<float>& model, const Samples& dataset, const EvaluationShape& shape,
                                  const comm::Communicator& communicator, Whereabouts* whereabouts = nullptr,
                                  const PassObserver& observer = {});

}  // namespace conclave::train
