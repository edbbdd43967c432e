// SPDX-License-Identifier: BSD-3-Clause
#include "apps/bench_report.hpp"

#include "runtime/core/error.hpp"
#include "runtime/core/trace.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace conclave::apps {
namespace {

std::string rate_text(const Line& line) {
  if (line.amount == 0.0) return "";
  const double rate = line.amount / line.ours.median();
  return rate < 1e4 ? fmt::format("{:.4g} {}", rate, line.unit) : fmt::format("{:.0f} {}", rate, line.unit);
}

}  // namespace

std::string aligned(const std::vector<Row>& rows) {
  std::vector<std::size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const Row& row : rows) {
    std::string line = fmt::format("  {:<{}}", row.front(), widths.front());
    for (std::size_t i = 1; i < row.size(); ++i) line += fmt::format("  {:>{}}", row[i], widths[i]);
    out += line.substr(0, line.find_last_not_of(' ') + 1) + '\n';
  }
  return out;
}

double Timings::min() const { return *std::min_element(seconds.begin(), seconds.end()); }

double Timings::median() const {
  invariant(!seconds.empty(), "the median of no timings");
  std::vector<double> sorted = seconds;
  std::sort(sorted.begin(), sorted.end());
  const std::size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : 0.5 * (sorted[half - 1] + sorted[half]);
}

double Timings::max() const { return *std::max_element(seconds.begin(), seconds.end()); }

double Line::ratio(std::size_t floor) const { return ours.median() / floors[floor].median(); }

std::string seconds_text(double seconds) {
  if (seconds < 1e-3) return fmt::format("{:.4g} us", 1e6 * seconds);
  if (seconds < 1.0) return fmt::format("{:.4g} ms", 1e3 * seconds);
  return fmt::format("{:.4g} s", seconds);
}

void add_communication(const Timings& total, Report& report) {
  const double exposed_s = report.facts["phases"].value(std::string(name_of(Phase::wait)), 0.0);
  report.facts["communication_s"] = total.median();
  report.facts["exposed_communication_s"] = exposed_s;
  report.notes.push_back(fmt::format("communication {:.3f} ms, each exchange by itself; of it exposed (wait) {:.3f} ms",
                                     1e3 * total.median(), 1e3 * exposed_s));
}

std::string table_text(const Report& report) {
  std::vector<Row> rows{{"", "min", "median", "max", ""}};
  for (const std::string& floor : report.floors) rows.front().push_back("/ " + floor);
  rows.front().insert(rows.front().end(), report.columns.begin(), report.columns.end());
  for (const Line& line : report.lines) {
    Row row{std::string(line.is_part ? 2 : 0, ' ') + line.name, seconds_text(line.ours.min()),
            seconds_text(line.ours.median()), seconds_text(line.ours.max()), rate_text(line)};
    for (std::size_t i = 0; i < line.floors.size(); ++i) row.push_back(fmt::format("{:.3f}", line.ratio(i)));
    for (const double value : line.values) row.push_back(fmt::format("{:.3f}", value));
    rows.push_back(std::move(row));
  }
  std::string out = report.title + '\n' + aligned(rows);
  for (const std::string& note : report.notes) out += fmt::format("  {}\n", note);
  return out;
}

Json report_json(const Report& report) {
  Json object{{"measurement", report.measurement}};
  object.update(report.facts);
  object["results"] = Json::array();
  for (const Line& line : report.lines) {
    Json entry{{"name", line.name},
               {"min_s", line.ours.min()},
               {"median_s", line.ours.median()},
               {"max_s", line.ours.max()},
               {"timings", line.ours.seconds.size()}};
    if (line.amount != 0.0) {
      entry["rate"] = line.amount / line.ours.median();
      entry["rate_unit"] = line.unit;
    }
    for (std::size_t i = 0; i < line.floors.size(); ++i) {
      entry["floors"][report.floors[i]] = {{"median_s", line.floors[i].median()}, {"ratio", line.ratio(i)}};
    }
    for (std::size_t i = 0; i < line.values.size(); ++i) entry[report.columns[i]] = line.values[i];
    object["results"].push_back(std::move(entry));
  }
  return object;
}

}  // namespace conclave::apps
