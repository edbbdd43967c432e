// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/trace.hpp"

#include "runtime/core/span_recorder.hpp"

namespace conclave {

void PhaseTimes::enter_layer(std::optional<Index> layer, std::optional<Direction> direction) {
  layer_ = layer;
  if (layer && *layer >= std::ssize(layers_)) layers_.resize(static_cast<std::size_t>(*layer) + 1);
  if (whereabouts_ != nullptr) whereabouts_->enter_layer(layer);
  if (recorder_ != nullptr) recorder_->enter_layer(layer, direction);
}

void PhaseTimes::record(Phase phase, std::string_view of, Clock::time_point begin, Clock::time_point end) {
  recorder_->add(phase, of, begin, end);
}

void PhaseTimes::record(const Transfer& transfer) { recorder_->add(transfer); }

}  // namespace conclave
