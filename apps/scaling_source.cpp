// SPDX-License-Identifier: BSD-3-Clause
// The files that studies of scaling and predictions are read from (scaling_report.hpp).
#include "apps/command_line.hpp"
#include "apps/scaling_report.hpp"
#include "runtime/core/parse_number.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <sstream>

namespace conclave::apps {
namespace {

constexpr std::string_view what_studies_are =
    "name a folder that slurm/scaling.sbatch wrote into, or a file of conclave bench scaling: --points, --csv, or what "
    "--json printed";

ScalingKind kind_of(std::string_view name, const std::string& path) {
  for (const auto& entry : enum_names(ScalingKind{})) {
    if (entry.name == name) return entry.value;
  }
  throw InputError(fmt::format("'{}' has a point of scaling '{}'", path, name), std::string(what_studies_are));
}

ScalingPoint point_of(ScalingKind kind, Index ranks, double tokens, double layer_s, double bare_s) {
  return {{kind, ranks}, static_cast<Index>(std::llround(std::clamp(tokens, 0.0, 1e15))), {{layer_s}}, {{bare_s}}};
}

// kind,ranks,tokens,min_s,median_s,max_s,gemm_floor_s,...
std::vector<ScalingPoint> points_of_csv(const std::string& path, const std::string& text) {
  std::istringstream lines(text);
  std::string line;
  std::getline(lines, line);
  if (!line.starts_with("kind,ranks,tokens,min_s,median_s,max_s,gemm_floor_s")) {
    throw InputError(
        fmt::format("'{}' is no table of a study of scaling: it begins with '{}'", path, line.substr(0, 60)),
        std::string(what_studies_are));
  }
  std::vector<ScalingPoint> points;
  while (std::getline(lines, line)) {
    std::vector<std::string> fields;
    std::istringstream columns(line);
    for (std::string field; std::getline(columns, field, ',');) fields.push_back(field);
    const auto number = [&](std::size_t i) {
      return i < fields.size() ? parse_number<double>(fields[i]) : std::nullopt;
    };
    const auto ranks = fields.size() > 1 ? parse_number<Index>(fields[1]) : std::nullopt;
    if (!ranks || !number(2) || !number(4) || !number(6)) {
      throw InputError(fmt::format("'{}' has the line '{}'", path, line.substr(0, 60)), std::string(what_studies_are));
    }
    points.push_back(point_of(kind_of(fields[0], path), *ranks, *number(2), *number(4), *number(6)));
  }
  return points;
}

// What `bench scaling --json` prints, or --calibration keeps: lines named "strong, 4 ranks".
std::vector<ScalingPoint> points_of_json(const std::string& path, const Json& object) {
  std::vector<ScalingPoint> points;
  for (const Json& line : object.at("results")) {
    const auto name = line.at("name").get<std::string>();
    const std::size_t comma = name.find(", ");
    const std::size_t end = name.rfind(" ranks");
    const auto ranks = comma == std::string::npos || end == std::string::npos || end < comma + 2
                           ? std::nullopt
                           : parse_number<Index>(std::string_view(name).substr(comma + 2, end - comma - 2));
    if (!ranks) throw InputError(fmt::format("'{}' has a result '{}'", path, name), std::string(what_studies_are));
    const auto median_s = line.at("median_s").get<double>();
    points.push_back(point_of(kind_of(std::string_view(name).substr(0, comma), path), *ranks,
                              line.at("rate").get<double>() * median_s, median_s,
                              line.at("floors").begin().value().at("median_s").get<double>()));
  }
  return points;
}

Json parsed(const std::string& path, const std::string& text, std::string_view hint) {
  try {
    return Json::parse(text);
  } catch (const Json::exception& error) {
    throw InputError(fmt::format("'{}' is no JSON: {}", path, error.what()), std::string(hint));
  }
}

std::vector<ScalingPoint> points_of_file(const std::string& path) {
  const std::string text = read_file(path);
  const std::string extension = std::filesystem::path(path).extension().string();
  if (extension == ".csv") return points_of_csv(path, text);
  if (extension == ".jsonl") return points_in(path, text);
  const Json object = parsed(path, text, what_studies_are);
  try {
    return points_of_json(path, object);
  } catch (const Json::exception& error) {
    throw InputError(fmt::format("'{}' holds no study of scaling: {}", path, error.what()),
                     std::string(what_studies_are));
  }
}

double positive(const Json& object, const char* name) {
  const auto value = object.at(name).get<double>();
  if (std::isfinite(value) && value > 0.0) return value;
  throw InputError(fmt::format("{} = {}", name, value), "name a file that conclave simulate has printed");
}

// A part of a step; rounding may leave it a little below 0.
double part_of(double whole, const Json& object, const char* name) {
  constexpr double rounding = 1e-9;
  const auto value = object.at(name).get<double>();
  if (std::isfinite(value) && value >= -rounding * whole) return std::max(0.0, value);
  throw InputError(fmt::format("{} = {}", name, value), "name a file that conclave simulate has printed");
}

void read_points(const Json& object, Predictions& p) {
  p.tokens = std::llround(std::clamp(object.at("tokens").get<double>(), 0.0, 1e15));
  for (const Json& point : object.at("points")) {
    PredictedPoint predicted{.ranks = point.at("ranks").get<Index>(), .step_s = positive(point, "step_s")};
    predicted.low_s = positive(point, "low_s");
    predicted.high_s = positive(point, "high_s");
    predicted.exposed_s = part_of(predicted.step_s, point, "exposed_s");
    predicted.imbalance_s = part_of(predicted.step_s, point, "imbalance_s");
    if (predicted.ranks < 1) throw InputError(fmt::format("ranks = {}", predicted.ranks));
    p.points.push_back(predicted);
  }
  std::ranges::sort(p.points, {}, &PredictedPoint::ranks);
}

void read_runs(const Json& object, Predictions& p) {
  for (const Json& run : object.at("runs")) {
    p.runs.push_back({.run = run.at("run").get<std::string>(),
                      .ranks = run.at("ranks").get<Index>(),
                      .held_out = run.at("held_out").get<bool>(),
                      .measured_s = positive(run, "measured_s"),
                      .predicted_s = positive(run, "predicted_s")});
  }
}

}  // namespace

std::optional<StudyOfScaling> study_of_scaling(const std::string& path) {
  namespace fs = std::filesystem;
  std::string file = path;
  if (fs::is_directory(path)) {
    for (const char* name : {"points.jsonl", "scaling.json", "scaling.csv"}) {
      file = (fs::path(path) / name).string();
      if (fs::exists(file)) break;
    }
  }
  const std::string extension = fs::path(file).extension().string();
  if (!fs::is_regular_file(file) || (extension != ".jsonl" && extension != ".json" && extension != ".csv")) return {};
  StudyOfScaling study{path, points_of_file(file)};
  if (study.points.empty()) throw InputError(fmt::format("'{}' has no point of a study", file), "measure some first");
  for (const ScalingPoint& p : study.points) {
    const auto is_time = [](const Timings& t) {
      return !t.seconds.empty() && std::isfinite(t.median()) && t.median() > 0.0;
    };
    if (p.place.ranks >= 1 && p.tokens >= 1 && is_time(p.layer) && is_time(p.bare)) continue;
    throw InputError(
        fmt::format("'{}' has a point that none can be: {} with {} tokens", file, text_of(p.place), p.tokens),
        std::string(what_studies_are));
  }
  std::ranges::sort(study.points, {}, &ScalingPoint::place);
  return study;
}

Predictions read_predictions(const std::string& path) {
  constexpr std::string_view hint = "give what conclave simulate run --json, or simulate validate --json, has printed";
  const Json object = parsed(path, read_file(path), hint);
  Predictions p{.name = path};
  try {
    if (object.at("simulation") == "run") {
      read_points(object, p);
    } else if (object.at("simulation") == "validate") {
      read_runs(object, p);
    }
  } catch (const std::exception& error) {
    throw InputError(fmt::format("simulated: '{}' holds no predictions: {}", path, error.what()), std::string(hint));
  }
  if (!p.points.empty() || !p.runs.empty()) return p;
  throw InputError(fmt::format("simulated: '{}' holds no predictions", path), std::string(hint));
}

}  // namespace conclave::apps
