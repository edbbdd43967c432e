// SPDX-License-Identifier: BSD-3-Clause
#include "apps/run_pictures.hpp"

#include "apps/heat_map.hpp"
#include "apps/line_chart.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace conclave::apps {
namespace {

constexpr Index most_marks = 40;  // of checkpoints
constexpr Index most_strip_rows = 64;

const Thinned* find(const ThinnedGroup& group, const std::string& name) {
  const auto found = group.numbers.find(name);
  return found == group.numbers.end() ? nullptr : &found->second;
}

// The buckets that have a number, times `factor`; with the band only where buckets are of several steps.
Curve curve_of(const ThinnedGroup& group, const Thinned& numbers, double factor = 1.0) {
  Curve curve;
  for (std::size_t i = 0; i < group.at.size(); ++i) {
    if (!std::isfinite(numbers.mean[i])) continue;
    curve.points.push_back({group.at[i], factor * numbers.mean[i]});
    if (group.rows_a_bucket > 1) {
      curve.band.push_back({group.at[i], factor * numbers.least[i], factor * numbers.most[i]});
    }
  }
  curve.only_line = true;
  return curve;
}

// Checkpoints of a run that stands alone, restarts of all.
std::vector<VerticalMark> marks_of(std::span<const RecordedRun> runs, const std::vector<std::string>& names) {
  std::vector<VerticalMark> marks;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const bool alone = runs.size() == 1;
    const std::optional<std::size_t> colour = alone ? std::nullopt : std::optional(r);
    const Index count = alone ? std::min(most_marks, std::ssize(runs[r].saves)) : 0;
    for (Index i = 0; i < count; ++i) {
      const Index last = even_share(std::ssize(runs[r].saves), count, i).end - 1;
      marks.push_back(
          {static_cast<double>(runs[r].saves[static_cast<std::size_t>(last)]), "checkpoint", false, colour});
    }
    for (std::size_t s = 1; s < runs[r].starts.size(); ++s) {
      const std::string name = alone ? std::string("restart") : fmt::format("restart of {}", names[r]);
      marks.push_back({static_cast<double>(runs[r].starts[s].step), name, true, colour});
    }
  }
  // Where nothing was logged nothing is marked: a log may have been lost.
  double first = HUGE_VAL;
  double last = -HUGE_VAL;
  for (const RecordedRun& run : runs) {
    if (run.steps.rows == 0) continue;
    first = std::min(first, static_cast<double>(run.first_step));
    last = std::max(last, static_cast<double>(run.last_step));
  }
  std::erase_if(marks, [&](const VerticalMark& mark) { return mark.x < first || mark.x > last; });
  return marks;
}

// A chart over steps; its curves and its labels come later.
LineChart over_steps(std::string title, std::string y_label, std::span<const RecordedRun> runs,
                     const std::vector<std::string>& names) {
  return {.title = std::move(title),
          .x_label = "steps",
          .y_label = std::move(y_label),
          .curves = {},
          .x_scale = Scale::linear,
          .y_scale = Scale::linear,
          .marks = marks_of(runs, names),
          .form = ChartForm::compact};
}

void add_picture(std::vector<Picture>& pictures, std::string file, const LineChart& chart, std::string caption = {}) {
  const auto has_points = [](const Curve& curve) { return !curve.points.empty(); };
  if (std::ranges::none_of(chart.curves, has_points)) return;
  pictures.push_back({std::move(file), svg_text(chart), std::move(caption)});
}

// A number of the steps, a curve a run.
void add_of_steps(std::vector<Picture>& pictures, std::span<const RecordedRun> runs,
                  const std::vector<std::string>& names, const std::string& number, LineChart chart, double factor) {
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const Thinned* numbers = find(runs[r].steps, number);
    if (numbers == nullptr) continue;
    Curve curve = curve_of(runs[r].steps, *numbers, factor);
    curve.name = runs.size() == 1 ? "" : names[r];
    curve.colour = r;
    chart.curves.push_back(std::move(curve));
  }
  std::string file = number;
  std::ranges::replace(file, '_', '-');
  add_picture(pictures, std::move(file), chart);
}

// The evaluations' curve of a run, beside one of its steps.
void add_held_out(LineChart& chart, const RecordedRun& run, const std::string& number, std::string name,
                  std::size_t colour, double factor) {
  const Thinned* numbers = find(run.evaluations, number);
  if (numbers == nullptr || run.evaluations.rows == 0) return;
  Curve curve = curve_of(run.evaluations, *numbers, factor);
  curve.name = std::move(name);
  curve.colour = colour;
  curve.only_line = false;
  curve.only_marks = !chart.curves.empty();
  chart.curves.push_back(std::move(curve));
}

LineChart loss_chart(std::span<const RecordedRun> runs, const std::vector<std::string>& names) {
  std::string unit;
  for (const RecordedRun& run : runs) {
    if (run.loss_unit.empty()) continue;
    unit = unit.empty() || unit == run.loss_unit ? run.loss_unit : "nats/token or nats/sample";
  }
  LineChart chart = over_steps("Loss", unit, runs, names);
  const bool alone = runs.size() == 1;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const Thinned* loss = find(runs[r].steps, "loss");
    if (loss == nullptr) continue;
    Curve curve = curve_of(runs[r].steps, *loss);
    curve.name = alone ? "training" : names[r];
    curve.colour = r;
    chart.curves.push_back(std::move(curve));
    add_held_out(chart, runs[r], "loss", alone ? "held out" : fmt::format("{}, held out", names[r]), alone ? 1 : r,
                 1.0);
  }
  return chart;
}

LineChart accuracy_chart(std::span<const RecordedRun> runs, const std::vector<std::string>& names) {
  LineChart chart = over_steps("Accuracy on held-out samples", "%", runs, names);
  chart.y_from_zero = true;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    // Of tokens the loss says more.
    if (find(runs[r].evaluations, "macro_f1") == nullptr) continue;
    add_held_out(chart, runs[r], "accuracy", runs.size() == 1 ? "" : names[r], r, 100.0);
    if (!chart.curves.empty()) chart.curves.back().only_marks = false;
  }
  return chart;
}

/// A number of every layer of a run, over steps or over evaluations.
struct OfLayers {
  const ThinnedGroup& group;
  const std::vector<Thinned>& layers;
};

// Adds of a run that stands alone a curve a layer; of several the mean over layers.
void add_layers(LineChart& chart, const OfLayers& of, bool alone, const std::string& name, std::size_t colour,
                double factor = 1.0) {
  for (std::size_t l = 0; alone && l < of.layers.size(); ++l) {
    Curve curve = curve_of(of.group, of.layers[l], factor);
    curve.band.clear();  // those of several layers lie over one another
    curve.name = fmt::format("layer {}", l);
    chart.curves.push_back(std::move(curve));
  }
  if (alone || of.layers.empty()) return;
  Thinned mean = of.layers.front();
  for (std::size_t i = 0; i < mean.mean.size(); ++i) {
    double sum = 0.0;
    for (const Thinned& layer : of.layers) sum += layer.mean[i];
    mean.mean[i] = sum / static_cast<double>(of.layers.size());
  }
  Curve curve = curve_of(of.group, mean, factor);
  curve.band.clear();
  curve.name = name;
  curve.colour = colour;
  chart.curves.push_back(std::move(curve));
}

LineChart entropy_chart(std::span<const RecordedRun> runs, const std::vector<std::string>& names) {
  const bool alone = runs.size() == 1;
  LineChart chart =
      over_steps(alone ? "Entropy of the routers" : "Entropy of the routers, mean over layers", "nats", runs, names);
  chart.y_from_zero = true;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    add_layers(chart, {runs[r].steps, runs[r].entropy}, alone, names[r], r);
  }
  return chart;
}

LineChart domain_chart(std::span<const RecordedRun> runs, const std::vector<std::string>& names) {
  const bool alone = runs.size() == 1;
  const std::string title = "What an expert tells about a token's domain";
  LineChart chart = over_steps(alone ? title : title + ", mean over layers", "% of what it could", runs, names);
  chart.y_from_zero = true;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    add_layers(chart, {runs[r].evaluations, runs[r].domain_information}, alone, names[r], r, 100.0);
  }
  for (Curve& curve : chart.curves) curve.only_line = false;
  return chart;
}

// A strip a layer; neighbouring experts share a row where there are too many.
Picture load_picture(const RecordedRun& run, std::string title, std::string file) {
  const Index rows = std::min(most_strip_rows, run.experts);
  const Index buckets = std::ssize(run.steps.at);
  HeatMap map{.title = std::move(title),
              .x_label = "steps",
              .y_label = "layer",
              .value_label = "load of an expert over the mean of its layer",
              .first = static_cast<double>(run.first_step) - 0.5,
              .last = static_cast<double>(run.last_step) + 0.5,
              .strips = {}};
  for (Index layer = 0; layer < run.layers; ++layer) {
    HeatStrip strip{fmt::format("{}", layer), rows, buckets, {}};
    for (Index row = 0; row < rows; ++row) {
      const Range experts = even_share(run.experts, rows, row);
      for (Index b = 0; b < buckets; ++b) {
        double sum = 0.0;
        for (Index e = experts.begin; e < experts.end; ++e) sum += run.relative_load(layer, e, b);
        strip.values.push_back(sum / static_cast<double>(experts.size()));
      }
    }
    map.strips.push_back(std::move(strip));
  }
  for (std::size_t s = 1; s < run.starts.size(); ++s) {
    const auto at = static_cast<double>(run.starts[s].step);
    if (at > map.first && at < map.last) map.marks.push_back(at);
  }
  std::string caption = fmt::format("A row is an expert, the first of {} at the top", run.experts);
  if (rows < run.experts) {
    caption = fmt::format("{} experts: a row is the mean of {} neighbours or fewer", run.experts,
                          even_share(run.experts, rows, 0).size());
  }
  caption += "; claims before capacity. The darkest blue is an expert with a quarter of the mean or less.";
  return {std::move(file), svg_text(map), std::move(caption)};
}

LineChart phases_chart(std::span<const RecordedRun> alone, const std::vector<std::string>& names, std::string title) {
  const RecordedRun& run = alone.front();
  LineChart chart = over_steps(std::move(title), "ms a step, mean over ranks", alone, names);
  chart.stacked = true;
  const auto is_known = [&](std::size_t bucket) {
    return std::ranges::all_of(run.phase_s, [&](const Thinned& phase) { return std::isfinite(phase.mean[bucket]); });
  };
  for (std::size_t p = 0; p < run.phases.size(); ++p) {
    Curve curve{.name = run.phases[p], .points = {}, .colour = p};
    for (std::size_t b = 0; b < run.steps.at.size(); ++b) {
      if (is_known(b)) curve.points.push_back({run.steps.at[b], 1e3 * run.phase_s[p].mean[b]});
    }
    // A phase that no step has would only be a name.
    const auto takes_time = [](const Point& point) { return point.y > 0.0; };
    if (std::ranges::any_of(curve.points, takes_time)) chart.curves.push_back(std::move(curve));
  }
  return chart;
}

// In the words of simulations.
constexpr std::array<std::string_view, 4> parts{"compute", "exposed communication", "waiting for the slowest rank",
                                                "data and checkpoints"};

LineChart attribution_chart(std::span<const RecordedRun> alone, const std::vector<std::string>& names,
                            std::string title) {
  const RecordedRun& run = alone.front();
  LineChart chart = over_steps(std::move(title), "ms a step, mean over ranks", alone, names);
  chart.stacked = true;
  for (std::size_t p = 0; p < run.waiting.step_s.size(); ++p) {
    const Thinned& part = run.waiting.step_s[p];
    Curve curve{.name = std::string(parts[p]), .points = {}, .colour = p};
    for (std::size_t b = 0; b < run.steps.at.size(); ++b) {
      if (std::isfinite(part.mean[b])) curve.points.push_back({run.steps.at[b], 1e3 * part.mean[b]});
    }
    chart.curves.push_back(std::move(curve));
  }
  return chart;
}

// Of all but the highest twentieth: a start or a save would leave no colour for the rest. Of two digits.
double most_of(const HeatMap& map) {
  std::vector<double> values;
  for (const HeatStrip& strip : map.strips) {
    std::ranges::copy_if(strip.values, std::back_inserter(values), [](double v) { return v > 0.0; });
  }
  if (values.empty()) return 0.0;
  const auto nth = values.begin() + (std::ssize(values) - 1) * 19 / 20;
  std::ranges::nth_element(values, nth);
  const double digit = std::pow(10.0, std::floor(std::log10(*nth)) - 1.0);
  return digit * std::ceil(*nth / digit);
}

// A strip for each part, with a row a layer.
Picture layers_picture(const RecordedRun& run, std::string title, std::string file) {
  const Index buckets = std::ssize(run.steps.at);
  HeatMap map{.title = std::move(title),
              .x_label = "steps",
              .y_label = "",
              .value_label = "ms a step of a layer, mean over ranks",
              .first = static_cast<double>(run.first_step) - 0.5,
              .last = static_cast<double>(run.last_step) + 0.5,
              .colours = HeatMap::Colours::from_zero};
  constexpr std::array names{"compute", "exposed", "waiting"};
  const Index rows = std::min(most_strip_rows, run.waiting.blocks);
  for (Index part = 0; part < std::ssize(names); ++part) {
    HeatStrip strip{names[static_cast<std::size_t>(part)], rows, buckets, {}};
    for (Index row = 0; row < rows; ++row) {
      const Range blocks = even_share(run.waiting.blocks, rows, row);
      for (Index b = 0; b < buckets; ++b) {
        double sum = 0.0;
        for (Index block = blocks.begin; block < blocks.end; ++block) {
          const Thinned& layer = run.waiting.layer_s[static_cast<std::size_t>(block * std::ssize(names) + part)];
          sum += layer.mean[static_cast<std::size_t>(b)];
        }
        strip.values.push_back(1e3 * sum / static_cast<double>(blocks.size()));
      }
    }
    map.strips.push_back(std::move(strip));
  }
  map.most = most_of(map);
  const std::string rows_text = rows < run.waiting.blocks ? "Rows are neighbouring layers" : "A row is a layer";
  return {std::move(file), svg_text(map),
          fmt::format("{}, the first of {} at the top of each part: compute, exposed communication, waiting for the "
                      "slowest rank.",
                      rows_text, run.waiting.blocks)};
}

void add_attribution(std::vector<Picture>& pictures, std::span<const RecordedRun> runs,
                     const std::vector<std::string>& names, std::size_t r) {
  const RecordedRun& run = runs[r];
  if (run.waiting.step_s.empty()) return;
  add_picture(pictures, file_of("attribution", runs, r),
              attribution_chart(runs.subspan(r, 1), {names[r]}, of_run("What ranks' time was for", runs, names[r])),
              "Exposed: what of communication nothing hid, less what ranks waited for the slowest of them.");
  if (run.waiting.blocks == 0) return;
  pictures.push_back(layers_picture(run, of_run("The same by layer", runs, names[r]), file_of("layers", runs, r)));
}

}  // namespace

std::string of_run(const std::string& what, std::span<const RecordedRun> runs, const std::string& name) {
  return runs.size() == 1 ? what : fmt::format("{}: {}", what, name);
}

std::string file_of(const std::string& what, std::span<const RecordedRun> runs, std::size_t r) {
  return runs.size() == 1 ? what : fmt::format("{}-{}", what, r + 1);
}

std::vector<Picture> learning_pictures(std::span<const RecordedRun> runs, const std::vector<std::string>& names) {
  std::vector<Picture> pictures;
  add_picture(pictures, "loss", loss_chart(runs, names));
  add_picture(pictures, "accuracy", accuracy_chart(runs, names));
  LineChart rate = over_steps("Learning rate", "", runs, names);
  rate.y_from_zero = true;
  add_of_steps(pictures, runs, names, "learning_rate", std::move(rate), 1.0);
  LineChart norm = over_steps("Norm of the gradient, before clipping", "", runs, names);
  norm.y_from_zero = true;
  add_of_steps(pictures, runs, names, "gradient_norm", std::move(norm), 1.0);
  return pictures;
}

std::vector<Picture> routing_pictures(std::span<const RecordedRun> runs, const std::vector<std::string>& names) {
  std::vector<Picture> pictures;
  if (std::ranges::none_of(runs, [](const RecordedRun& run) { return run.layers > 0; })) return pictures;
  LineChart drops = over_steps("Claims that got no slot", "%", runs, names);
  drops.y_from_zero = true;
  add_of_steps(pictures, runs, names, "drop_rate", std::move(drops), 100.0);
  add_picture(pictures, "entropy", entropy_chart(runs, names));
  add_picture(pictures, "domains", domain_chart(runs, names),
              "Mutual information on held-out data over the most that it can be, corrected for few counts: 0 % where "
              "domains make no difference to the router.");
  for (std::size_t r = 0; r < runs.size(); ++r) {
    if (runs[r].layers == 0 || runs[r].steps.at.empty()) continue;
    pictures.push_back(load_picture(runs[r], of_run("Load of the experts", runs, names[r]), file_of("load", runs, r)));
  }
  return pictures;
}

std::vector<Picture> speed_pictures(std::span<const RecordedRun> runs, const std::vector<std::string>& names) {
  std::vector<Picture> pictures;
  LineChart speed = over_steps("Speed", "tokens/s", runs, names);
  speed.y_from_zero = true;
  add_of_steps(pictures, runs, names, "tokens_per_s", std::move(speed), 1.0);
  for (std::size_t r = 0; r < runs.size(); ++r) {
    if (runs[r].phases.empty()) continue;
    add_picture(pictures, file_of("phases", runs, r),
                phases_chart(runs.subspan(r, 1), {names[r]}, of_run("Where a step's time goes", runs, names[r])),
                "wait: what of communication nothing hid.");
  }
  for (std::size_t r = 0; r < runs.size(); ++r) add_attribution(pictures, runs, names, r);
  return pictures;
}

}  // namespace conclave::apps
