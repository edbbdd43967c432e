// SPDX-License-Identifier: BSD-3-Clause
// Where a new run begins: at drawn values, at the parameters of a checkpoint of the same model, at those of a model
// without experts, each copied into all of a block's experts (sparse upcycling, Komatsuzaki et al. 2023), or at what
// another model has of the same shape.
#pragma once

#include "runtime/model/model.hpp"
#include "runtime/train/checkpoint_header.hpp"

namespace conclave::train {

/// Of one start: a resumed run has its parameters.
struct StartOptions {
  std::string init_from;
  bool init_matching = false;
  bool upcycle = false;
  double upcycle_noise = 0.0;
  Index upcycle_split = 1;
};

void describe(StartOptions& options, OptionTable& table);

/// InputError for values out of range, for options that nothing would read, and for models that cannot be upcycled.
/// `model` must be valid.
void validate(const StartOptions& options, const model::ModelOptions& model);

/// The model's options that a checkpoint keeps; defaults for those it has none of.
[[nodiscard]] model::ModelOptions model_options(const CheckpointHeader& header);

/// InputError if a model with these options could not take over the parameters of one with options `source`, though
/// their tensors may look alike.
void refuse_other_model(const model::ModelOptions& source, const model::ModelOptions& target);

/// InputError, naming every difference, if `target` cannot be upcycled from a model with options `source`.
void refuse_to_upcycle(const StartOptions& options, const model::ModelOptions& source,
                       const model::ModelOptions& target);

/// InputError, naming every difference, if `target` cannot begin at what it has in common with a model with options
/// `source`: of another width, other heads, or fewer layers.
void refuse_to_match(const model::ModelOptions& source, const model::ModelOptions& target);

/// Gives `model` those of its replicated parameters (all but routed experts) that `source` has too, in the same shape,
/// and leaves the others as they are; a model of fewer blocks takes the last of as many runs of the source's. Returns
/// how many tensors it took.
Index take_matching(model::Model<float>& source, model::Model<float>& model);

/// Gives `model` the parameters of `dense`, whose options refuse_to_upcycle accepts. What both have is copied, each
/// block's feed-forward into all of the block's experts, and routers stay as they are. With options.upcycle_split = m
/// expert e takes the (e mod m)-th of m slices of the hidden width and m times its output matrix (granular upcycling,
/// He et al. 2024): m different slices with gates 1/m sum to the dense function. With a base, that takes the matrices
/// and the deltas are zero. Noise of deviation upcycle_noise times each tensor's root mean square is drawn for every
/// expert.
void upcycle(const StartOptions& options, Index seed, model::Model<float>& dense, model::Model<float>& model);

}  // namespace conclave::train
