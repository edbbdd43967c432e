// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/collapse_watch.hpp"

#include "gating/router.hpp"

#include <algorithm>

namespace conclave::train {

void describe(CollapseOptions& o, OptionTable& table) {
  table.add("collapse_alarm", o.collapse_alarm,
            "warn when a router's experts work as fewer than this share of the way from top_k to all; 0: never");
  table.add("collapse_window", o.collapse_window, "steps that the load is added up over for that");
}

void validate(const CollapseOptions& o) {
  if (!(o.collapse_alarm >= 0.0 && o.collapse_alarm < 1.0)) {
    throw InputError(fmt::format("collapse_alarm = {}", o.collapse_alarm), "give 0 (never) up to a number below 1");
  }
  if (o.collapse_window < 1) {
    throw InputError(fmt::format("collapse_window = {}", o.collapse_window), "give at least 1 step");
  }
}

CollapseWatch::CollapseWatch(const CollapseOptions& options, const gating::RouterOptions& router)
    : options_(options), router_(router) {}

bool CollapseWatch::watches() const {
  return options_.collapse_alarm > 0.0 && router_.top_k < router_.experts &&
         gating::find_router(router_.router).has_scores;
}

std::vector<std::string> CollapseWatch::add(Index step, const std::vector<model::LayerStatistics>& layers) {
  std::vector<std::string> alarms;
  if (!watches()) return alarms;
  layers_.resize(layers.size());
  const auto least = static_cast<double>(router_.top_k);
  const auto most = static_cast<double>(router_.experts);
  for (std::size_t l = 0; l < layers.size(); ++l) {
    Layer& layer = layers_[l];
    layer.take(layers[l].load, options_.collapse_window);
    if (std::ssize(layer.loads) < options_.collapse_window) continue;
    const double evenness = (layer.window.effective_experts() - least) / (most - least);
    if (evenness < options_.collapse_alarm && !layer.has_alarm) {
      layer.has_alarm = true;
      alarms.push_back(sentence(step, l, layer.window));
    } else if (evenness > 0.5 * (1.0 + options_.collapse_alarm)) {
      layer.has_alarm = false;
    }
  }
  return alarms;
}

void CollapseWatch::Layer::take(const std::vector<Index>& load, Index window_steps) {
  window.load.resize(load.size(), 0);
  if (std::ssize(loads) < window_steps) {
    loads.push_back(load);
  } else {
    for (std::size_t e = 0; e < load.size(); ++e) window.load[e] -= loads[oldest][e];
    loads[oldest] = load;
    oldest = (oldest + 1) % loads.size();
  }
  for (std::size_t e = 0; e < load.size(); ++e) window.load[e] += load[e];
}

std::string CollapseWatch::sentence(Index step, std::size_t layer, const model::LayerStatistics& window) const {
  const auto fullest = std::max_element(window.load.begin(), window.load.end());
  const double threshold = static_cast<double>(router_.top_k) +
                           options_.collapse_alarm * static_cast<double>(router_.experts - router_.top_k);
  return fmt::format(
      "step {}: the router of MoE layer {} has collapsed: over the last {} steps its {} experts worked as {:.2f} (the "
      "alarm is at {:.2f}, by collapse_alarm = {}); {} had no token, expert {} had {:.0f} % of the claims. A larger "
      "c_balance, selection_bias or jitter spreads the load",
      step, layer, options_.collapse_window, router_.experts, window.effective_experts(), threshold,
      options_.collapse_alarm, window.dead_experts(), fullest - window.load.begin(),
      100.0 * static_cast<double>(*fullest) / static_cast<double>(std::max<Index>(1, window.claims())));
}

}  // namespace conclave::train
