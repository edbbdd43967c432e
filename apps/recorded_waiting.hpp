// SPDX-License-Identifier: BSD-3-Clause
// What a run's log tells of where its steps' time went, and for whom ranks waited.
#pragma once

#include "apps/recorded_tables.hpp"

namespace conclave::apps {

/// What ranks waited for in some of the steps: the same work of the same rank.
struct Culprit {
  Index rank = 0;
  Index stretch = 0;  // as in train/attribution.hpp
  Index expert = -1;  // the fullest of the rank's experts, where the stretch is one of experts
  Index steps = 0;
  double waited_s = 0.0;     // in these steps together
  double load = 0.0;         // of the expert over the mean, on average over these steps
  Index worst_step = 0;      // that lost the largest share to it
  double worst_share = 0.0;  // of that step's time
  double worst_load = 0.0;   // of the expert in it
};

struct RecordedWaiting {
  std::vector<Thinned> step_s{};    // [4] compute, exposed, imbalance, io: mean over ranks [s]
  Index blocks = 0;                 // layers
  std::vector<Thinned> layer_s{};   // [blocks, 3] compute, exposed, imbalance [s]
  double seconds = 0.0;             // of the steps that were not skipped
  std::vector<Culprit> culprits{};  // those that were waited for longest come first
};

/// Of /steps. Loads are [layers, experts] a step. Empty where none is recorded. InputError for a log that no run
/// writes.
[[nodiscard]] RecordedWaiting recorded_waiting(const RecordedTables& tables, Index layers, Index experts);

/// "rank 1: its experts of MoE layer 2, the fullest of them expert 3", without the rank.
[[nodiscard]] std::string work_of(const Culprit& culprit);
/// "31 % of step 40 waited for rank 1: expert 3 of MoE layer 2 had 4.1 times the mean load".
[[nodiscard]] std::string worst_of(const Culprit& culprit);

}  // namespace conclave::apps
