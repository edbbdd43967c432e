// SPDX-License-Identifier: BSD-3-Clause
#include "apps/trace_file.hpp"

#include <cerrno>
#include <cmath>
#include <cstring>

namespace conclave::apps {
namespace {

void refuse(const std::string& path) {
  throw InputError(fmt::format("cannot write the trace '{}': {}", path, std::strerror(errno)),
                   "check the folder's rights and free space");
}

Json args_of(const Span& span) {
  Json args = Json::object();
  for (const auto& [name, number] :
       {std::pair{"step", span.step}, {"pass", span.pass}, {"layer", span.layer}, {"wave", span.wave}}) {
    if (number >= 0) args[name] = number;
  }
  if (span.direction) args["direction"] = name_of(*span.direction);
  if (!span.of.empty()) args[span.kind == SpanKind::wait ? "for" : "of"] = span.of;
  for (const auto& [name, amount] : {std::pair{"rows", span.rows}, {"bytes", span.bytes}, {"flops", span.flops}}) {
    if (amount > 0.0) args[name] = std::round(1000.0 * amount) / 1000.0;
  }
  if (span.calls > 0) args["calls"] = span.calls;
  if (!span.experts.empty()) args["experts"] = span.experts;
  return args;
}

}  // namespace

std::string trace_name(RankId rank) { return fmt::format("rank {}", rank.value()); }

void TraceEvents::add(const Json& event) {
  if (!text_.empty()) text_ += ",\n";
  text_ += event.dump();
}

void TraceEvents::name_process(Index process, const std::string& name, Index place) {
  add({{"ph", "M"}, {"name", "process_name"}, {"pid", process}, {"args", {{"name", name}}}});
  add({{"ph", "M"}, {"name", "process_sort_index"}, {"pid", process}, {"args", {{"sort_index", place}}}});
}

void TraceEvents::name_thread(TraceRow row, const std::string& name) {
  add({{"ph", "M"}, {"name", "thread_name"}, {"pid", row.process}, {"tid", row.thread}, {"args", {{"name", name}}}});
}

void TraceEvents::add(TraceRow row, const Span& span) {
  const double begin_ns = std::round(1e9 * span.begin_s);
  const double length_ns = std::round(1e9 * span.end_s) - begin_ns;
  if (length_ns <= 0.0) return;
  add({{"ph", "X"},
       {"name", span.name()},
       {"cat", name_of(span.kind)},
       {"ts", begin_ns / 1000.0},
       {"dur", length_ns / 1000.0},
       {"pid", row.process},
       {"tid", row.thread},
       {"args", args_of(span)}});
}

TraceFile::TraceFile(std::string path, const Json& about) : path_(std::move(path)), file_(path_) {
  file_ << "{\"displayTimeUnit\":\"ms\",\n\"otherData\":" << about.dump() << ",\n\"traceEvents\":[";
  if (!file_) refuse(path_);
}

void TraceFile::write(std::string_view events) {
  if (events.empty()) return;
  file_ << (is_first_ ? "\n" : ",\n") << events;
  is_first_ = false;
}

void TraceFile::close() {
  file_ << "\n]}\n";
  file_.close();
  if (!file_) refuse(path_);
}

}  // namespace conclave::apps
