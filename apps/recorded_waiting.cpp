// SPDX-License-Identifier: BSD-3-Clause
#include "apps/recorded_waiting.hpp"

#include "runtime/train/attribution.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>

namespace conclave::apps {
namespace {

/// The columns that tell of one rank a step.
struct Columns {
  std::vector<double> seconds, waited_s;
  std::vector<Index> rank, stretch, expert;
};

// The load of an expert over the mean of its layer's.
double relative_load(std::span<const double> layer, Index expert) {
  const double sum = std::accumulate(layer.begin(), layer.end(), 0.0);
  const double load = layer[static_cast<std::size_t>(expert)];
  return sum > 0.0 ? load * static_cast<double>(layer.size()) / sum : 0.0;
}

std::optional<Columns> columns_of(const RecordedTables& tables) {
  for (const char* name : {"seconds", "waited_s", "slowest_rank", "slowest_stretch", "slowest_expert"}) {
    if (!tables.has(name)) return {};
  }
  return Columns{tables.column<double>("seconds"), tables.column<double>("waited_s"),
                 tables.column<Index>("slowest_rank"), tables.column<Index>("slowest_stretch"),
                 tables.column<Index>("slowest_expert")};
}

std::vector<Culprit> culprits_of(const RecordedTables& tables, const Columns& all, Index layers, Index experts) {
  std::map<std::tuple<Index, Index, Index>, Culprit> found;
  const auto add = [&](Index row, std::span<const double> loads) {
    const auto i = static_cast<std::size_t>(row);
    if (!(all.waited_s[i] > 0.0) || !(all.seconds[i] > 0.0)) return;
    const std::optional<Index> layer = train::layer_of_experts(all.stretch[i]);
    const bool is_sound = all.rank[i] >= 0 && all.stretch[i] >= 0 && all.stretch[i] < train::stretch_of_own(layers) &&
                          (layer ? all.expert[i] >= 0 && all.expert[i] < experts : all.expert[i] == -1);
    if (!is_sound) {
      tables.refuse(fmt::format("expert {} in stretch {} of rank {}", all.expert[i], all.stretch[i], all.rank[i]));
    }
    Culprit& culprit = found[{all.rank[i], all.stretch[i], all.expert[i]}];
    culprit.rank = all.rank[i];
    culprit.stretch = all.stretch[i];
    culprit.expert = all.expert[i];
    ++culprit.steps;
    culprit.waited_s += all.waited_s[i];
    const double load = layer ? relative_load(loads.subspan(static_cast<std::size_t>(*layer * experts),
                                                            static_cast<std::size_t>(experts)),
                                              all.expert[i])
                              : 0.0;
    culprit.load += load;
    const double share = all.waited_s[i] / all.seconds[i];
    if (share <= culprit.worst_share) return;
    culprit.worst_share = share;
    culprit.worst_step = tables.steps()[i];
    culprit.worst_load = load;
  };
  for (const Range& bucket : tables.buckets()) {
    if (layers > 0) {
      tables.for_rows("load", layers * experts, bucket, add);
    } else {
      tables.for_rows("seconds", 1, bucket, add);
    }
  }
  std::vector<Culprit> culprits;
  for (auto& [key, culprit] : found) {
    culprit.load /= static_cast<double>(culprit.steps);
    culprits.push_back(culprit);
  }
  std::ranges::stable_sort(culprits, std::greater(), &Culprit::waited_s);
  return culprits;
}

std::string layer_text(Index stretch) { return fmt::format("MoE layer {}", (stretch - train::stretch_of_own(0)) / 2); }

}  // namespace

RecordedWaiting recorded_waiting(const RecordedTables& tables, Index layers, Index experts) {
  RecordedWaiting waiting;
  if (tables.has("attribution")) {
    if (tables.row_shape("attribution") != std::vector<Index>{4}) tables.refuse("an attribution of another shape");
    waiting.step_s = tables.thinned("attribution", 4);
  }
  if (tables.has("layer_attribution")) {
    const std::vector<Index> shape = tables.row_shape("layer_attribution");
    if (shape.size() != 2 || shape[0] < 1 || shape[1] != 3) tables.refuse("layers' attribution of another shape");
    waiting.blocks = shape[0];
    waiting.layer_s = tables.thinned("layer_attribution", shape[0] * shape[1]);
  }
  const std::optional<Columns> columns = columns_of(tables);
  if (!columns) return waiting;
  for (Index row = 0; row < std::ssize(columns->seconds); ++row) {
    const double seconds = columns->seconds[static_cast<std::size_t>(row)];
    if (tables.counts(row) && std::isfinite(seconds)) waiting.seconds += seconds;
  }
  waiting.culprits = culprits_of(tables, *columns, layers, experts);
  return waiting;
}

std::string work_of(const Culprit& culprit) {
  if (culprit.stretch == train::stretch_of_data) return "reading data";
  if (culprit.stretch == train::stretch_outside) return "what it computes outside of MoE layers";
  const std::string layer = layer_text(culprit.stretch);
  if (!train::layer_of_experts(culprit.stretch)) return "its own tokens in " + layer;
  return fmt::format("its experts of {}, the fullest of them expert {} with {:.1f} times the mean load", layer,
                     culprit.expert, culprit.load);
}

std::string worst_of(const Culprit& culprit) {
  std::string why = work_of(culprit);
  if (train::layer_of_experts(culprit.stretch)) {
    why = fmt::format("expert {} of {} had {:.1f} times the mean load", culprit.expert, layer_text(culprit.stretch),
                      culprit.worst_load);
  }
  return fmt::format("{:.0f} % of step {} waited for rank {}: {}", 100.0 * culprit.worst_share, culprit.worst_step,
                     culprit.rank, why);
}

}  // namespace conclave::apps
