// SPDX-License-Identifier: BSD-3-Clause
#include "apps/traffic_pictures.hpp"

#include "apps/heat_map.hpp"
#include "apps/run_pictures.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::apps {
namespace {

HeatMap traffic_map(std::string title, Index places, const std::string& place) {
  return {.title = std::move(title),
          .x_label = "to the experts of " + place,
          .y_label = "from " + place,
          .value_label = "rows a step",
          .first = -0.5,
          .last = static_cast<double>(places) - 0.5,
          .colours = HeatMap::Colours::from_zero,
          .square = true};
}

}  // namespace

std::vector<Picture> traffic_pictures(std::span<const RecordedRun> runs, const std::vector<std::string>& names) {
  double most = 0.0;
  for (const RecordedRun& run : runs) {
    if (run.traffic) most = std::max(most, *std::ranges::max_element(run.traffic->rows));
  }
  std::vector<Picture> pictures;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    if (!runs[r].traffic) continue;
    const RecordedTraffic& traffic = *runs[r].traffic;
    const std::string place = traffic.nodes > 0 ? "node" : "rank";
    HeatMap map =
        traffic_map(of_run(fmt::format("Rows from {0} to {0}", place), runs, names[r]), traffic.places(), place);
    map.strips = {{"", traffic.places(), traffic.places(), traffic.rows}};
    map.most = std::ceil(most);
    pictures.push_back({file_of("rows", runs, r), svg_text(map),
                        fmt::format("Steps {} to {}; {} 0 sends in the top row, and the diagonal stays where it is.",
                                    traffic.first_step, traffic.last_step, place)});
  }
  return pictures;
}

Picture traffic_picture(const RankTraffic& traffic) {
  constexpr Index most_cells = 128;  // in a row
  const Index cells = std::min(most_cells, traffic.ranks);
  HeatMap map = traffic_map("Rows from rank to rank", traffic.ranks, "rank");
  if (cells < traffic.ranks) map.value_label += ", mean of a block of ranks";
  map.strips = {{"", cells, cells, {}}};
  for (Index row = 0; row < cells; ++row) {
    for (Index column = 0; column < cells; ++column) {
      const Range from = even_share(traffic.ranks, cells, row);
      const Range to = even_share(traffic.ranks, cells, column);
      double sum = 0.0;
      for (Index f = from.begin; f < from.end; ++f) {
        for (Index t = to.begin; t < to.end; ++t) sum += traffic.rows[static_cast<std::size_t>(f * traffic.ranks + t)];
      }
      map.strips[0].values.push_back(sum / static_cast<double>(from.size() * to.size()));
    }
  }
  return {"traffic", svg_text(map),
          "Rank 0 sends in the top row; the diagonal stays where it is. Mean over the recorded steps, all MoE layers "
          "together, forward, one way."};
}

}  // namespace conclave::apps
