// SPDX-License-Identifier: BSD-3-Clause
#include "apps/recorded_traffic.hpp"

#include "apps/recorded_tables.hpp"
#include "runtime/train/row_traffic.hpp"

#include <algorithm>
#include <numeric>

namespace conclave::apps {

double RecordedTraffic::all_rows() const { return std::accumulate(rows.begin(), rows.end(), 0.0); }

double RecordedTraffic::rows_away() const {
  double stay = 0.0;
  for (Index place = 0; place < places(); ++place) stay += rows[static_cast<std::size_t>(place * (places() + 1))];
  return all_rows() - stay;
}

std::optional<RecordedTraffic> recorded_traffic(const train::Hdf5File& file) {
  const RecordedTables tables(file, "/traffic");
  if (tables.steps().empty()) return {};
  const std::vector<Index> steps = tables.column<Index>("steps");
  const std::vector<Index> ranks = tables.column<Index>("ranks");
  const std::vector<Index> nodes = tables.column<Index>("nodes");
  const std::vector<Index> row_bytes = tables.column<Index>("row_bytes");
  const std::vector<Index> from = tables.column<Index>("from");
  const std::vector<Index> to = tables.column<Index>("to");
  const std::vector<Index> rows = tables.column<Index>("rows");
  RecordedTraffic traffic{
      .last_step = tables.steps().back(), .ranks = ranks.back(), .nodes = nodes.back(), .row_bytes = row_bytes.back()};
  const Index places = traffic.places();
  if (places < 1 || places > train::RowTraffic::most_places) tables.refuse(fmt::format("{} places", places));
  traffic.rows.assign(static_cast<std::size_t>(places * places), 0.0);
  Index counted = -1;  // the step whose record was met last
  for (std::size_t i = rows.size(); i-- > 0;) {
    if (ranks[i] != traffic.ranks || nodes[i] != traffic.nodes || row_bytes[i] != traffic.row_bytes) break;
    const bool is_sound = std::clamp<Index>(from[i], 0, places - 1) == from[i] &&
                          std::clamp<Index>(to[i], 0, places - 1) == to[i] && rows[i] >= 0 && steps[i] >= 1 &&
                          steps[i] <= tables.steps()[i];
    if (!is_sound) {
      tables.refuse(fmt::format("{} rows from {} to {} of {} places in {} of {} steps", rows[i], from[i], to[i], places,
                                steps[i], tables.steps()[i]));
    }
    traffic.rows[static_cast<std::size_t>(from[i] * places + to[i])] += static_cast<double>(rows[i]);
    if (tables.steps()[i] == counted) continue;
    counted = tables.steps()[i];
    traffic.steps += steps[i];
    traffic.first_step = counted - steps[i] + 1;
  }
  for (double& count : traffic.rows) count /= static_cast<double>(traffic.steps);
  return traffic;
}

}  // namespace conclave::apps
