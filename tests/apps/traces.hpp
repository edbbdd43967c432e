// SPDX-License-Identifier: BSD-3-Clause
// Traces as viewers read them.
#pragma once

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <map>
#include <string>
#include <vector>

namespace conclave::test {

inline std::int64_t ns(const nlohmann::json& microseconds) { return std::llround(1000.0 * microseconds.get<double>()); }

/// The events of one row, by the names of its process and thread.
using TraceRows = std::map<std::pair<std::string, std::string>, std::vector<nlohmann::json>>;

inline TraceRows rows_of(const nlohmann::json& trace) {
  std::map<int, std::string> processes;
  std::map<std::pair<int, int>, std::pair<std::string, std::string>> threads;
  TraceRows rows;
  for (const nlohmann::json& e : trace["traceEvents"]) {
    const int process = e["pid"];
    if (e["name"] == "process_name") processes[process] = e["args"]["name"];
    if (e["name"] == "thread_name") {
      threads[{process, e["tid"]}] = {processes.at(process), e["args"]["name"]};
      rows[threads[{process, e["tid"]}]];
    }
    if (e["ph"] == "X") rows.at(threads.at({process, e["tid"]})).push_back(e);
  }
  return rows;
}

// As viewers read it: an event lies in those that are not over when it begins.
inline void expect_nested(const std::vector<nlohmann::json>& events) {
  std::vector<std::int64_t> ends;
  std::int64_t last_begin = 0;
  for (const nlohmann::json& e : events) {
    const std::int64_t begin = ns(e["ts"]);
    const std::int64_t end = begin + ns(e["dur"]);
    EXPECT_GT(end, begin) << e;
    EXPECT_GE(begin, last_begin) << e;
    last_begin = begin;
    while (!ends.empty() && begin >= ends.back()) ends.pop_back();
    if (!ends.empty()) {
      EXPECT_LE(end, ends.back()) << e;
    }
    ends.push_back(end);
  }
}

inline double seconds_of(const std::vector<nlohmann::json>& events, const std::string& name) {
  double sum = 0.0;
  for (const nlohmann::json& e : events) {
    if (e["name"] == name) sum += 1e-6 * e["dur"].get<double>();
  }
  return sum;
}

}  // namespace conclave::test
