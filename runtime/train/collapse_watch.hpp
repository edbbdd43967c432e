// SPDX-License-Identifier: BSD-3-Clause
// Notices routers that use ever fewer of their experts.
#pragma once

#include "gating/options.hpp"
#include "runtime/model/moe_statistics.hpp"

#include <string>
#include <vector>

namespace conclave::train {

struct CollapseOptions {
  double collapse_alarm = 0.2;
  Index collapse_window = 20;
};

void describe(CollapseOptions& options, OptionTable& table);
/// InputError for values out of range.
void validate(const CollapseOptions& options);

/// Adds up each MoE layer's load over a window of steps. With k choices a token, E experts work as at least k and at
/// most E (model::LayerStatistics::effective_experts): the alarm sounds when they work as fewer than
/// k + collapse_alarm (E - k), once until the layer has recovered half-way to even. Routers without learned scores are
/// not watched: their load is what the user asked for.
class CollapseWatch {
 public:
  CollapseWatch(const CollapseOptions& options, const gating::RouterOptions& router);

  /// Takes a step's statistics; returns a sentence, with the threshold, for each layer that has just collapsed.
  [[nodiscard]] std::vector<std::string> add(Index step, const std::vector<model::LayerStatistics>& layers);

 private:
  struct Layer {
    std::vector<std::vector<Index>> loads;  // of the last steps, as many as the window has
    std::size_t oldest = 0;                 // of loads
    model::LayerStatistics window;          // its load is their sum
    bool has_alarm = false;
    void take(const std::vector<Index>& load, Index window_steps);
  };
  [[nodiscard]] bool watches() const;
  [[nodiscard]] std::string sentence(Index step, std::size_t layer, const model::LayerStatistics& window) const;

  CollapseOptions options_;
  gating::RouterOptions router_;
  std::vector<Layer> layers_;
};

}  // namespace conclave::train
