// SPDX-License-Identifier: BSD-3-Clause
#include "apps/scaling_report.hpp"

#include "apps/line_chart.hpp"
#include "runtime/core/parse_number.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::apps {
namespace {

std::string file_of(const std::string& what, std::size_t number) { return fmt::format("{}-{}", what, number + 1); }

LineChart over_ranks(std::string title, std::string y_label, Scale y_scale) {
  return {.title = std::move(title),
          .x_label = "ranks",
          .y_label = std::move(y_label),
          .curves = {},
          .x_scale = Scale::powers_of_two,
          .y_scale = y_scale,
          .y_from_zero = true,
          .form = ChartForm::compact};
}

std::vector<ScalingPoint> points_of(const StudyOfScaling& study, ScalingKind kind) {
  std::vector<ScalingPoint> points;
  std::ranges::copy_if(study.points, std::back_inserter(points),
                       [&](const ScalingPoint& point) { return point.place.kind == kind; });
  return points;
}

// Tokens a second as a multiple of those of the kind's first point, times its ranks.
double speed_up(const ScalingPoint& point, const ScalingPoint& first) {
  const auto rate = [](const ScalingPoint& p) { return static_cast<double>(p.tokens) / p.layer.median(); };
  return rate(point) / rate(first) * static_cast<double>(first.place.ranks);
}

// The straight line from the first to the last number of ranks; at(ranks) is how high it is there.
Curve ideal(const StudyOfScaling& study, double (*at)(double)) {
  Curve curve{.name = "ideal", .points = {}, .dashed = true, .colour = 9};
  const auto [least, most] =
      std::ranges::minmax_element(study.points, {}, [](const ScalingPoint& point) { return point.place.ranks; });
  for (const auto& end : {least, most}) {
    const auto ranks = static_cast<double>(end->place.ranks);
    curve.points.push_back({ranks, at(ranks)});
  }
  return curve;
}

// What a step's or a layer's time is made of: areas one above the other.
Picture parts_picture(std::string file, std::string title, const std::vector<std::string>& names,
                      const std::vector<std::vector<Point>>& parts, std::string caption) {
  LineChart chart = over_ranks(std::move(title), "ms", Scale::linear);
  chart.stacked = true;
  for (std::size_t i = 0; i < names.size(); ++i) chart.curves.push_back({.name = names[i], .points = parts[i]});
  return {std::move(file), svg_text(chart), std::move(caption)};
}

Picture against_compute(const StudyOfScaling& study, ScalingKind kind, std::size_t number) {
  std::vector<std::vector<Point>> parts(2);
  for (const ScalingPoint& point : points_of(study, kind)) {
    const auto ranks = static_cast<double>(point.place.ranks);
    const double layer_ms = 1e3 * point.layer.median();
    const double bare_ms = std::min(layer_ms, 1e3 * point.bare.median());
    parts[0].push_back({ranks, bare_ms});
    parts[1].push_back({ranks, layer_ms - bare_ms});
  }
  return parts_picture(file_of(fmt::format("scaling-{}-time", name_of(kind)), number),
                       fmt::format("Time of the layer, {} scaling", name_of(kind)),
                       {"products of the experts", "all else"}, parts,
                       "Products: what the experts' matrix products alone take on as many ranks at once. All else: "
                       "communication, waiting for others, the gate, and moving rows.");
}

PageTable table_of(const StudyOfScaling& study) {
  PageTable table{{"scaling", "ranks", "tokens", "layer [ms]", "products [ms]", "speed-up", "efficiency"}, {}};
  for (const ScalingKind kind : {ScalingKind::strong, ScalingKind::weak}) {
    const std::vector<ScalingPoint> points = points_of(study, kind);
    for (const ScalingPoint& p : points) {
      const double speed = speed_up(p, points.front());
      table.rows.push_back({std::string(name_of(kind)), fmt::format("{}", p.place.ranks), fmt::format("{}", p.tokens),
                            fmt::format("{:.3f}", 1e3 * p.layer.median()), fmt::format("{:.3f}", 1e3 * p.bare.median()),
                            fmt::format("{:.2f}", speed),
                            fmt::format("{:.2f}", speed / static_cast<double>(p.place.ranks))});
    }
  }
  return table;
}

LineChart predicted_chart(const Predictions& predictions, const std::vector<const RecordedRun*>& measured) {
  LineChart chart = over_ranks("Step: predicted and measured", "ms", Scale::powers_of_two);
  Curve predicted{.name = "predicted", .points = {}, .only_line = true, .colour = 0};
  for (const PredictedPoint& p : predictions.points) {
    const auto ranks = static_cast<double>(p.ranks);
    predicted.points.push_back({ranks, 1e3 * p.step_s});
    predicted.band.push_back({ranks, 1e3 * p.low_s, 1e3 * p.high_s});
  }
  chart.curves.push_back(std::move(predicted));
  Curve runs{.name = "measured", .points = {}, .only_marks = true, .colour = 1};
  for (const RecordedRun* run : measured) {
    runs.points.push_back({static_cast<double>(run->ranks()), 1e3 * run->median_step_s});
  }
  if (!runs.points.empty()) chart.curves.push_back(std::move(runs));
  return chart;
}

Picture predicted_parts(const Predictions& predictions, std::size_t number) {
  std::vector<std::vector<Point>> parts(3);
  for (const PredictedPoint& p : predictions.points) {
    const auto ranks = static_cast<double>(p.ranks);
    parts[0].push_back({ranks, 1e3 * std::max(0.0, p.step_s - p.exposed_s - p.imbalance_s)});
    parts[1].push_back({ranks, 1e3 * p.exposed_s});
    parts[2].push_back({ranks, 1e3 * p.imbalance_s});
  }
  return parts_picture(file_of("predicted-time", number), "What the predicted step is made of",
                       {"computing", "exposed communication", "waiting for the slowest"}, parts,
                       "All of it predicted.");
}

void add_points(const Predictions& predictions, std::span<const RecordedRun> runs, std::size_t number,
                PageSection& section) {
  std::vector<const RecordedRun*> measured;
  std::vector<std::string> others;
  for (const RecordedRun& run : runs) {
    if (run.ranks() < 1 || !(run.median_step_s > 0.0)) continue;
    if (run.tokens_a_step == predictions.tokens) {
      measured.push_back(&run);
    } else {
      others.push_back(fmt::format("{} ({} tokens a step)", run.name, run.tokens_a_step));
    }
  }
  if (!others.empty()) {
    section.paragraphs.push_back(fmt::format("Predicted is a step of {} tokens; not compared are: {}.",
                                             predictions.tokens, fmt::join(others, ", ")));
  }
  PageTable table{{"ranks", "predicted [ms]", "measured [ms]", "off by"}, {}};
  for (const PredictedPoint& p : predictions.points) {
    std::vector<std::string> row{fmt::format("{}", p.ranks), fmt::format("{:.3f}", 1e3 * p.step_s), "", ""};
    for (const RecordedRun* run : measured) {
      if (run->ranks() != p.ranks) continue;
      const std::string separator = row[2].empty() ? "" : ", ";
      row[2] += fmt::format("{}{:.3f}", separator, 1e3 * run->median_step_s);
      row[3] += fmt::format("{}{:+.1f} %", separator, 100.0 * (p.step_s / run->median_step_s - 1.0));
    }
    table.rows.push_back(std::move(row));
  }
  section.tables.push_back(std::move(table));
  section.pictures.push_back({file_of("predicted", number), svg_text(predicted_chart(predictions, measured)),
                              "The band is the interval that holds 9 of 10 steps, where a calibration gives one. "
                              "Measured: the median step of a run but for its first tenth."});
  section.pictures.push_back(predicted_parts(predictions, number));
}

void add_runs(const Predictions& predictions, std::size_t number, PageSection& section) {
  LineChart chart{.title = "Steps of runs: predicted against measured",
                  .x_label = "measured [ms]",
                  .y_label = "predicted [ms]",
                  .curves = {{.name = "the same", .points = {}, .dashed = true, .colour = 9},
                             {.name = "held out", .points = {}, .only_marks = true, .colour = 0},
                             {.name = "fitted", .points = {}, .only_marks = true, .colour = 1}},
                  .form = ChartForm::compact};
  PageTable table{{"run", "ranks", "measured [ms]", "predicted [ms]", "off by"}, {}};
  double least = HUGE_VAL;
  double most = 0.0;
  for (const PredictedRun& run : predictions.runs) {
    const Point point{1e3 * run.measured_s, 1e3 * run.predicted_s};
    chart.curves[run.held_out ? 1 : 2].points.push_back(point);
    least = std::min({least, point.x, point.y});
    most = std::max({most, point.x, point.y});
    table.rows.push_back({run.run, fmt::format("{}", run.ranks), fmt::format("{:.3f}", point.x),
                          fmt::format("{:.3f}", point.y), fmt::format("{:+.1f} %", 100.0 * (point.y / point.x - 1.0))});
  }
  chart.curves[0].points = {{least, least}, {most, most}};
  std::erase_if(chart.curves, [](const Curve& curve) { return curve.points.empty(); });
  section.tables.push_back(std::move(table));
  section.pictures.push_back({file_of("validated", number), svg_text(chart),
                              "Fitted: runs of a kind that the calibration was made from; they are no test of it."});
}

}  // namespace

PageSection scaling_section(const StudyOfScaling& study, std::size_t number) {
  PageSection section{.heading = fmt::format("Scaling: {}", study.name)};
  LineChart speed = over_ranks("Speed-up of an MoE layer", "speed-up", Scale::powers_of_two);
  LineChart efficiency = over_ranks("Efficiency: speed-up over ranks", "", Scale::linear);
  speed.curves.push_back(ideal(study, [](double ranks) { return ranks; }));
  efficiency.curves.push_back(ideal(study, [](double) { return 1.0; }));
  std::vector<Picture> parts;
  for (const ScalingKind kind : {ScalingKind::strong, ScalingKind::weak}) {
    const std::vector<ScalingPoint> points = points_of(study, kind);
    if (points.empty()) continue;
    Curve speeds{.name = std::string(name_of(kind)), .points = {}, .colour = static_cast<std::size_t>(kind)};
    Curve shares = speeds;
    for (const ScalingPoint& point : points) {
      const auto ranks = static_cast<double>(point.place.ranks);
      const double of_first = speed_up(point, points.front());
      speeds.points.push_back({ranks, of_first});
      shares.points.push_back({ranks, of_first / ranks});
    }
    speed.curves.push_back(std::move(speeds));
    efficiency.curves.push_back(std::move(shares));
    parts.push_back(against_compute(study, kind, number));
  }
  section.tables = {table_of(study)};
  section.pictures = {{file_of("scaling-speed-up", number), svg_text(speed),
                       "Strong: as many tokens in all; weak: as many tokens a rank."},
                      {file_of("scaling-efficiency", number), svg_text(efficiency), ""}};
  section.pictures.insert(section.pictures.end(), parts.begin(), parts.end());
  return section;
}

PageSection prediction_section(const Predictions& predictions, std::span<const RecordedRun> runs, std::size_t number) {
  PageSection section{.heading = fmt::format("Predicted: {}", predictions.name)};
  if (predictions.points.empty()) {
    add_runs(predictions, number, section);
  } else {
    add_points(predictions, runs, number, section);
  }
  return section;
}

}  // namespace conclave::apps
