// SPDX-License-Identifier: BSD-3-Clause
// The steps of a run that change nothing: their data is passed over.
#pragma once

#include "runtime/core/function_ref.hpp"
#include "runtime/train/checkpoint_header.hpp"

#include <map>
#include <span>
#include <string>

namespace conclave::train {

/// Steps are counted as records count them, from 1. Some are told when a process starts, others are found by the run to
/// have numbers that are not finite. Which of the two one is makes no difference to the bits of the run.
class SkippedSteps {
 public:
  explicit SkippedSteps(std::span<const Index> told);

  [[nodiscard]] bool contains(Index step) const { return skips_.contains(step); }
  /// Why, a sentence. Of a step that is contained.
  [[nodiscard]] const std::string& reason(Index step) const;
  /// The run has found the numbers of a step not finite. Changes nothing for one that is contained already.
  void add(Index step, const std::string& reason);
  /// How many steps were found in the row of skipped ones that ends with `step`.
  [[nodiscard]] Index found_in_row(Index step) const;
  /// How many steps after `step` were found.
  [[nodiscard]] Index found_after(Index step) const;
  /// How many skipped steps up to and including `last` satisfy `condition`.
  [[nodiscard]] Index count(Index last, FunctionRef<bool(Index step)> condition) const;

  /// What a checkpoint of step `done` keeps, [n, 2]: steps that were skipped, or will be because they were found, and
  /// whether they were (1).
  [[nodiscard]] NumberTable table(Index done) const;
  /// Goes on from such a checkpoint, with the later ones of the told steps. InputError for a table that no run writes,
  /// and for a told step that the run has not skipped when it did it.
  void resume(const NumberTable& table, Index done);

 private:
  struct Skip {
    std::string reason;
    bool is_found = false;
  };
  std::map<Index, Skip> skips_;
};

}  // namespace conclave::train
