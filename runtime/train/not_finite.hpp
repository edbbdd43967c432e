// SPDX-License-Identifier: BSD-3-Clause
// Numbers that are not finite (NaN, infinity): where in a model they stand.
#pragma once

#include "runtime/train/tensor_file.hpp"

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace conclave::train {

/// A step's numbers are not finite, and the run's options do not let it pass over the step. The same on every rank.
class NotFiniteError : public InputError {
 public:
  /// `step` as records count it; `what` says where, and `hint` what to do.
  NotFiniteError(Index step, const std::string& what, std::string hint)
      : InputError(what, std::move(hint)), step_(step) {}
  [[nodiscard]] Index step() const { return step_; }

 private:
  Index step_;
};

/// How a run that ended at `step` can go on.
[[nodiscard]] std::string hint_to_go_on(Index step);

[[nodiscard]] bool is_finite(std::span<const float> values);

/// An element of a model's tensors.
struct ParameterPlace {
  std::string tensor;     // "layer 3, expert 5, `w1`"
  std::vector<Index> at;  // [12, 7]: an index for each of the tensor's dimensions

  /// "the gradient of layer 3, expert 5, `w1` is not finite (first at [12, 7])"
  [[nodiscard]] std::string sentence(std::string_view of_what) const;
};

/// The place of the first number that is not finite among the parts of all ranks, in the order in which backward comes
/// to the layers: what has spread from one layer to those before it is told of that one. Nothing if all are finite.
/// Every rank has parts of the same tensors in the same order, named as in a checkpoint. The same on any number of
/// ranks. Collective.
[[nodiscard]] std::optional<ParameterPlace> first_not_finite(const comm::Communicator& communicator,
                                                             std::span<const TensorPart> parts);

/// Those of the parts that are weights: "/params/...".
[[nodiscard]] std::vector<TensorPart> values_among(std::span<const TensorPart> parts);

/// InputError on every rank, naming the parameter, if weights that were read from a checkpoint are not finite.
/// Collective.
void refuse_not_finite(const comm::Communicator& communicator, const std::filesystem::path& checkpoint,
                       std::span<const TensorPart> parts);

}  // namespace conclave::train
