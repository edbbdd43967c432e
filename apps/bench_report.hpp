// SPDX-License-Identifier: BSD-3-Clause
// What a measurement found, and the two forms it is told in: a table for people, a JSON object for programs.
#pragma once

#include "runtime/core/ids.hpp"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace conclave::apps {

using Json = nlohmann::ordered_json;

/// Times of one thing [s]: a repetition's each on its slowest rank, or every rank's of every repetition. Not empty.
struct Timings {
  std::vector<double> seconds;
  Index calls = 1;  // of the thing within one timing; `seconds` are of one call
  [[nodiscard]] double min() const;
  [[nodiscard]] double median() const;
  [[nodiscard]] double max() const;
};

/// A thing measured beside what it cannot be faster than.
struct Line {
  std::string name;
  Timings ours;
  std::vector<Timings> floors{};  // by Report::floors; alternating with `ours`; fewer, or none, where there are none
  double amount = 0.0;            // that one call works on, in `unit` x s; 0: no rate is told
  std::string_view unit{};        // "GFLOP/s"
  bool is_part = false;           // of the line above
  std::vector<double> values{};   // by Report::columns

  /// The quotient of the medians; above 1 is slower than the floor.
  [[nodiscard]] double ratio(std::size_t floor = 0) const;
};

struct Report {
  std::string measurement{};           // "layer"
  std::string title{};                 // what was measured, one line
  std::vector<std::string> floors{};   // what the lines' floors are: "FMA loop"
  std::vector<std::string> columns{};  // what else is told of a line: "speed_up"
  std::vector<Line> lines{};
  std::vector<std::string> notes{};  // sentences below the table: what the floors are, what is left out
  Json facts = Json::object();       // the measurement's own keys of the JSON object
};

/// Tells for how long data was on its way, and how much of that nothing hid: the facts' phase "wait", which is there.
void add_communication(const Timings& total, Report& report);

/// Rows of a table, its columns as wide as their widest entries: the first aligned to the left, the others to the
/// right.
using Row = std::vector<std::string>;
[[nodiscard]] std::string aligned(const std::vector<Row>& rows);

/// The table: a line a thing, min, median and max, rate, and ratio to each floor.
[[nodiscard]] std::string table_text(const Report& report);

/// "measurement", the facts, and "results": the lines.
[[nodiscard]] Json report_json(const Report& report);

/// A time with three digits and the unit that fits: "12.3 ms".
[[nodiscard]] std::string seconds_text(double seconds);

}  // namespace conclave::apps
