// SPDX-License-Identifier: BSD-3-Clause
// Training data of which some samples are so large that no sum of theirs is finite.
#pragma once

#include "runtime/train/samples.hpp"

#include <algorithm>
#include <set>

namespace conclave::train {

/// Feature vectors; in the endless stream of training samples, or in another part, the poisoned steps' have some of
/// this kind.
class PoisonedSamples final : public Samples {
 public:
  /// `steps` as records count them; each has one poisoned sample, at another place.
  PoisonedSamples(const Samples& sound, std::set<Index> steps, Index samples_in_step, Split part = Split::train)
      : sound_(sound), steps_(std::move(steps)), samples_in_step_(samples_in_step), part_(part) {}

  void read_batch(Split split, Index first, Index count, Batch& batch) const override {
    sound_.read_batch(split, first, count, batch);
    if (split != part_) return;
    for (Index i = 0; i < count; ++i) {
      const Index step = (first + i) / samples_in_step_ + 1;
      if (!steps_.contains(step) || (first + i) % samples_in_step_ != place(step)) continue;
      std::fill_n(batch.features.begin() + i * batch.num_features, batch.num_features, 3e38F);
    }
  }
  /// Which of a step's samples is poisoned.
  [[nodiscard]] Index place(Index step) const { return (5 * step + 2) % samples_in_step_; }

  [[nodiscard]] model::DataShape shape() const override { return sound_.shape(); }
  [[nodiscard]] Index tokens_in_sample() const override { return sound_.tokens_in_sample(); }
  [[nodiscard]] Index num_sequences(Split split) const override { return sound_.num_sequences(split); }
  [[nodiscard]] std::string description() const override { return sound_.description(); }
  [[nodiscard]] std::uint64_t fingerprint() const override { return sound_.fingerprint(); }
  [[nodiscard]] const std::vector<std::string>& notices() const override { return sound_.notices(); }

 private:
  const Samples& sound_;
  std::set<Index> steps_;
  Index samples_in_step_;
  Split part_;
};

}  // namespace conclave::train
