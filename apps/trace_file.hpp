// SPDX-License-Identifier: BSD-3-Clause
// Rows of spans as a file that Perfetto and chrome://tracing open: the Trace Event Format, a JSON object whose
// `traceEvents` are complete events ("X") and names ("M"), times in microseconds with three digits behind the point.
#pragma once

#include "apps/bench_report.hpp"
#include "runtime/core/span.hpp"

#include <fstream>
#include <string>

namespace conclave::apps {

/// A row of a trace: a process and one of its threads, both numbered from 1.
struct TraceRow {
  Index process = 1;
  Index thread = 1;
};
/// What rank r's rows are called, in every trace.
[[nodiscard]] std::string trace_name(RankId rank);

/// Events as the text that a file has of them: what is written, and what a rank gives to the one that writes.
class TraceEvents {
 public:
  /// Processes are shown in the order of their places.
  void name_process(Index process, const std::string& name, Index place);
  void name_thread(TraceRow row, const std::string& name);
  /// A span that holds others comes before them. Times are rounded to nanoseconds, so that what nests and what follows
  /// still does; what then has no length is left out.
  void add(TraceRow row, const Span& span);
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  void add(const Json& event);

  std::string text_;
};

/// The file is written as events are added: none of them is kept.
class TraceFile {
 public:
  /// Begins the file; about: what the trace is of, for readers. InputError where it cannot be written.
  TraceFile(std::string path, const Json& about);

  /// The text of TraceEvents, of any rank. What goes wrong is told by close.
  void write(std::string_view events);
  /// Ends the file. InputError where it could not be written.
  void close();

 private:
  std::string path_;
  std::ofstream file_;
  bool is_first_ = true;
};

}  // namespace conclave::apps
