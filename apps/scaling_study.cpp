// SPDX-License-Identifier: BSD-3-Clause
#include "apps/scaling_study.hpp"

#include "apps/command_line.hpp"
#include "runtime/train/agreed.hpp"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <sstream>

namespace conclave::apps {
namespace {

Json json_of(const ScalingPlace& place) { return {{"kind", name_of(place.kind)}, {"ranks", place.ranks}}; }
Json json_of(const Timings& timings) { return {{"seconds", timings.seconds}, {"calls", timings.calls}}; }

Timings timings_of(const Json& object) {
  return {object.at("seconds").get<std::vector<double>>(), object.at("calls").get<Index>()};
}

ScalingPlace place_of(const Json& object) {
  ScalingPlace place{ScalingKind::strong, object.at("ranks").get<Index>()};
  if (object.at("kind").get<std::string>() == name_of(ScalingKind::weak)) place.kind = ScalingKind::weak;
  return place;
}

// Not what a program that was killed has left of a last line.
std::string whole_lines(const std::string& text) { return text.substr(0, text.rfind('\n') + 1); }

ScalingPoint point_of(const Json& object) {
  return {place_of(object.at("point")), object.at("tokens").get<Index>(), timings_of(object.at("layer")),
          timings_of(object.at("bare"))};
}

// Calls use(object) for each line.
void for_lines(const std::string& path, const std::string& text, const std::function<void(const Json&)>& use) {
  std::istringstream lines(text);
  try {
    for (std::string line; std::getline(lines, line);) use(Json::parse(line));
  } catch (const Json::exception& error) {
    throw InputError(fmt::format("'{}' holds no points of a study: {}", path, error.what()),
                     "name another file with --points");
  }
}

void refuse_other_settings(const std::string& path, const Json& before, const Json& now) {
  for (const auto& [name, value] : now.items()) {
    const Json was = before.value(name, Json());
    if (was == value) continue;
    throw InputError(fmt::format("'{}' has points with {} = {}, not {}", path, name, was.dump(), value.dump()),
                     "points of one study must be alike: name another file with --points, or remove this one");
  }
}

}  // namespace

std::string text_of(const ScalingPlace& place) { return fmt::format("{}, {} ranks", name_of(place.kind), place.ranks); }

std::vector<ScalingPoint> points_in(const std::string& path, const std::string& text) {
  std::vector<ScalingPoint> points;
  for_lines(path, whole_lines(text), [&](const Json& object) {
    if (object.contains("point")) points.push_back(point_of(object));
  });
  return points;
}

ScalingStudy::ScalingStudy(const std::string& path, const Json& settings, const comm::Communicator& world)
    : world_(world) {
  if (path.empty()) return;
  std::string text;
  train::on_root(world, [&] {
    file_ = std::make_unique<train::LineFile>(path);
    text = whole_lines(read_file(path));
    file_->cut(std::ssize(text));
  });
  text = world.broadcast(text);
  read(path, text, settings);  // fails on every rank, or on none
  if (text.empty()) append({{"settings", settings}});
}

void ScalingStudy::read(const std::string& path, const std::string& text, const Json& settings) {
  for_lines(path, text, [&](const Json& object) {
    if (object.contains("settings")) {
      refuse_other_settings(path, object.at("settings"), settings);
    } else if (object.contains("begins")) {
      tried_.insert(place_of(object.at("begins")));
    } else {
      points_.push_back(point_of(object));
    }
  });
}

std::vector<ScalingPlace> ScalingStudy::missing(const std::vector<ScalingPlace>& places) const {
  std::vector<ScalingPlace> result;
  std::copy_if(places.begin(), places.end(), std::back_inserter(result),
               [&](const ScalingPlace& place) { return points({place}).empty(); });
  std::stable_partition(result.begin(), result.end(), [&](const ScalingPlace& p) { return !tried_.contains(p); });
  return result;
}

std::vector<ScalingPoint> ScalingStudy::points(const std::vector<ScalingPlace>& places) const {
  std::vector<ScalingPoint> result;
  for (const ScalingPlace& place : places) {
    const auto found = std::ranges::find(points_, place, &ScalingPoint::place);
    if (found != points_.end()) result.push_back(*found);
  }
  return result;
}

void ScalingStudy::begin(const ScalingPlace& place) { append({{"begins", json_of(place)}}); }

void ScalingStudy::add(const ScalingPoint& point) {
  append({{"point", json_of(point.place)},
          {"tokens", point.tokens},
          {"layer", json_of(point.layer)},
          {"bare", json_of(point.bare)}});
  points_.push_back(point);
}

void ScalingStudy::append(const Json& line) {
  train::on_root(world_, [&] {
    if (file_) file_->append(line.dump() + '\n');
  });
}

}  // namespace conclave::apps
