// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/routing_file.hpp"

#include "runtime/core/error.hpp"
#include "runtime/train/mapped_file.hpp"

#include <nlohmann/json.hpp>

#include <string_view>

namespace conclave::train {
namespace {

using Json = nlohmann::ordered_json;

constexpr Index format_version = 1;

std::string header_of(const gating::RoutingSizes& s) {
  const Json header{
      {"step", 0},          {"routing_trace", format_version}, {"layers", s.layers},  {"experts", s.experts},
      {"groups", s.groups}, {"group_tokens", s.group_tokens},  {"classes", s.classes}};
  return header.dump() + '\n';
}

std::string line_of(const gating::RoutingStep& step) {
  return Json{{"step", step.step}, {"claimed", step.claimed}, {"kept", step.kept}}.dump() + '\n';
}

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

[[noreturn]] void refuse_line(const std::filesystem::path& path, Index line, std::string_view why) {
  throw InputError(fmt::format("'{}', line {}: {}", path.string(), line, why),
                   "name a file of conclave train --record-routing");
}

Index count_of(const Json& object, const char* key) {
  const auto value = object.find(key);
  return value != object.end() && value->is_number_integer() ? value->get<Index>() : -1;
}

gating::RoutingSizes sizes_of(const Json& header, const std::filesystem::path& path) {
  if (!header.is_object() || count_of(header, "routing_trace") != format_version) {
    refuse_line(path, 1, fmt::format("this is no routing trace of version {}", format_version));
  }
  const gating::RoutingSizes sizes{count_of(header, "layers"), count_of(header, "experts"), count_of(header, "groups"),
                                   count_of(header, "group_tokens"), count_of(header, "classes")};
  try {
    check(sizes);
  } catch (const InvariantError& error) {
    refuse_line(path, 1, error.what());
  }
  return sizes;
}

std::vector<Index> counts_of(const Json& object, const char* key, const std::filesystem::path& path, Index line) {
  const auto list = object.find(key);
  if (list == object.end() || !list->is_array()) refuse_line(path, line, fmt::format("'{}' is no list", key));
  std::vector<Index> counts;
  for (const Json& count : *list) {
    if (!count.is_number_integer()) refuse_line(path, line, fmt::format("'{}' has {}", key, count.dump()));
    counts.push_back(count.get<Index>());
  }
  return counts;
}

gating::RoutingStep step_of(const Json& object, const gating::RoutingTrace& before, const std::filesystem::path& path,
                            Index line) {
  if (!object.is_object()) refuse_line(path, line, "this is no step");
  const Index last = before.steps.empty() ? 0 : before.steps.back().step;
  gating::RoutingStep step{count_of(object, "step"), counts_of(object, "claimed", path, line),
                           counts_of(object, "kept", path, line)};
  if (step.step <= last) refuse_line(path, line, fmt::format("step {} after step {}", step.step, last));
  try {
    check(before.sizes, step);
  } catch (const InvariantError& error) {
    refuse_line(path, line, error.what());
  }
  return step;
}

}  // namespace

RoutingFile::RoutingFile(std::filesystem::path path, const gating::RoutingSizes& sizes, Index first_step)
    : path_(std::move(path)), sizes_(sizes), lines_(path_), last_step_(first_step) {
  find_length(first_step);
}

void RoutingFile::find_length(Index last_step) {
  const std::string header = header_of(sizes_);
  const MappedFile file(path_.string());
  const std::string_view text = text_of(file);
  // A process that was killed may have left a part of the first line.
  if (!text.starts_with(header) && !std::string_view(header).starts_with(text)) {
    throw InputError(fmt::format("record_routing = {}, which is no trace of {} layers of {} experts, {} groups of {} "
                                 "tokens",
                                 path_.string(), sizes_.layers, sizes_.experts, sizes_.groups, sizes_.group_tokens),
                     "name a new file, or that of this run");
  }
  std::vector<std::string> notices;
  kept_bytes_ = text.starts_with(header) ? length_up_to(path_, last_step, notices) : 0;
  is_cut_ = false;
}

void RoutingFile::append(const gating::RoutingStep& step) {
  invariant(step.step > last_step_, "the routing of step {} after step {}", step.step, last_step_);
  check(sizes_, step);
  pending_ += line_of(step);
  last_step_ = step.step;
}

void RoutingFile::flush() {
  if (!is_cut_) {
    lines_.cut(kept_bytes_);
    if (kept_bytes_ == 0) lines_.append(header_of(sizes_));
    is_cut_ = true;
  }
  lines_.append(pending_);
  pending_.clear();
}

void RoutingFile::go_back(Index step) {
  flush();
  find_length(step);
  last_step_ = step;
}

gating::RoutingTrace read_routing(const std::filesystem::path& path) {
  const MappedFile file(path.string());
  std::string_view text = text_of(file);
  gating::RoutingTrace trace;
  for (Index line = 1; !text.empty(); ++line) {
    const auto end = text.find('\n');
    if (end == std::string_view::npos && line > 1) break;  // of a run that is on, or was killed
    const Json object = Json::parse(text.substr(0, end), nullptr, false);
    if (line == 1) {
      trace.sizes = sizes_of(object, path);
    } else {
      trace.steps.push_back(step_of(object, trace, path, line));
    }
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  if (trace.sizes == gating::RoutingSizes{}) refuse_line(path, 1, "there is none");
  return trace;
}

}  // namespace conclave::train
