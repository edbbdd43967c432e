// SPDX-License-Identifier: BSD-3-Clause
// What a run's log tells, thinned to what a picture can show.
#pragma once

#include "apps/recorded_tables.hpp"
#include "apps/recorded_traffic.hpp"
#include "apps/recorded_waiting.hpp"
#include "runtime/train/metrics.hpp"

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace conclave::apps {

struct RecordedRun {
  std::string name;  // as its folder was given
  std::map<std::string, std::string> config{}, record{};
  std::string loss_unit{};  // "nats/token"
  Index first_step = 0;     // of those that are logged
  Index last_step = 0;
  Index skipped = 0;
  Index tokens = 0;
  double seconds = 0.0;        // of all logged steps together
  double median_step_s = 0.0;  // of the steps but for the first tenth; 0: none
  Index tokens_a_step = 0;     // of the last step that was not skipped
  std::optional<double> last_loss{};
  ThinnedGroup steps{};
  std::vector<std::string> phases{};
  std::vector<Thinned> phase_s{};  // by phase: mean over ranks [s]
  std::vector<Thinned> entropy{};  // by MoE layer [nats]
  Index layers = 0;                // MoE layers
  Index experts = 0;               // of each
  std::vector<double> load{};      // [layers, experts, buckets] mean claims of a step; NaN as in Thinned
  ThinnedGroup evaluations{}, tests{};
  std::vector<Thinned> domain_information{};  // by MoE layer, over evaluations, 0 to 1; none: no domains are known
  std::optional<double> best_evaluation{};    // the least loss on held-out data
  std::vector<train::RunStart> starts{};      // none in logs of versions that did not write them
  std::vector<Index> saves{};                 // checkpoints that were saved or are there; rising
  RecordedWaiting waiting{};
  std::optional<RecordedTraffic> traffic{};

  /// By its record; 0 where that does not tell.
  [[nodiscard]] Index ranks() const;
  /// The load of an expert over the mean of its layer's experts in a bucket; NaN where there is none.
  [[nodiscard]] double relative_load(Index layer, Index expert, Index bucket) const;
};

/// Of the run whose folder this is; one that has not done a step yet has no buckets. InputError where there is no log,
/// it is damaged, or it has tables that no run writes.
[[nodiscard]] RecordedRun recorded_run(const std::string& folder);

}  // namespace conclave::apps
