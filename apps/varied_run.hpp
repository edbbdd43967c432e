// SPDX-License-Identifier: BSD-3-Clause
// A training under many what-ifs, ranked: `simulate run --vary`.
#pragma once

#include "apps/result_table.hpp"
#include "apps/variations.hpp"

namespace conclave::apps {

enum class RankBy { step, cost };
inline constexpr std::array<EnumName<RankBy>, 2> enum_names(RankBy) {
  return {{{RankBy::step, "step"}, {RankBy::cost, "cost"}}};
}

struct VariedRun {
  std::vector<std::string> vary;  // parse_variations
  RankBy rank_by = RankBy::step;
  Index top = 20;  // rows of the table; 0: all
};

void describe(VariedRun& o, OptionTable& table);
/// InputError where the command line gives what only --vary uses.
void refuse_unvaried(const Session& session);

/// A point of the grid that has a price.
struct RankedPoint {
  Index number = 0;  // in the grid
  SimulatedPoint point;
};

struct RankedRun {
  const VariedRun& options;
  const TrainingSimulation& simulation;
  SettledTraining base;
  Grid grid;
  std::vector<RankedPoint> points{};                     // the best first; those that fit in memory before the others
  std::vector<std::pair<std::string, Index>> refused{};  // why, and how many points
  std::vector<std::string> without_effect{};             // keys
  double seconds = 0.0;                                  // that the prices took
};

/// Prices every point on `ranks` ranks, where they are not varied; 0: as many as the cluster has. Progress is shown on
/// a terminal. InputError if no point can be priced. Collective; the result refers to the options.
[[nodiscard]] RankedRun ranked_run(const VariedRun& options, const TrainingSimulation& simulation, Index ranks,
                                   const Session& session);

[[nodiscard]] std::string table_text(const RankedRun& run);
[[nodiscard]] std::string json_text(const RankedRun& run);
[[nodiscard]] ResultTable table_of(const RankedRun& run);

}  // namespace conclave::apps
