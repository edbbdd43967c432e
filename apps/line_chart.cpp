// SPDX-License-Identifier: BSD-3-Clause
#include "apps/line_chart.hpp"

#include "runtime/core/error.hpp"
#include "runtime/core/ids.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace conclave::apps {
namespace {

// The picture's size, and its margins, in which the labels stand.
struct Frame {
  double width, height, left, right, top, bottom;
};

constexpr double legend_line = 18.0;  // the height of a line of a compact legend

struct LegendEntry {
  std::string name;
  std::string symbol;  // drawn from (0, 0) to (24, 0)
};

std::string dashes(bool dashed) { return dashed ? " stroke-dasharray=\"6 4\"" : ""; }

std::size_t colour_index(const LineChart& chart, std::size_t i) { return chart.curves[i].colour.value_or(i); }

std::string symbol_of(const LineChart& chart, std::size_t i) {
  const Curve& curve = chart.curves[i];
  const std::string_view colour = colour_of(colour_index(chart, i));
  if (chart.stacked) return fmt::format("<rect x=\"6\" y=\"-6\" width=\"12\" height=\"12\" fill=\"{}\"/>", colour);
  if (curve.only_marks) return fmt::format("<circle cx=\"12.0\" cy=\"0.0\" r=\"3.5\" fill=\"{}\"/>", colour);
  return fmt::format("<path d=\"M0,0h24\" stroke=\"{}\" stroke-width=\"2\"{}/>", colour, dashes(curve.dashed));
}

std::string stroke_of(const VerticalMark& mark) {
  return fmt::format("stroke=\"{}\" stroke-width=\"{}\" stroke-opacity=\"{}\"{}",
                     mark.colour ? colour_of(*mark.colour) : "#555", mark.dashed ? "1.5" : "1",
                     mark.dashed ? "0.9" : "0.45", dashes(mark.dashed));
}

std::vector<LegendEntry> legend_of(const LineChart& chart) {
  std::vector<LegendEntry> entries;
  for (std::size_t i = 0; i < chart.curves.size(); ++i) {
    if (!chart.curves[i].name.empty()) entries.push_back({chart.curves[i].name, symbol_of(chart, i)});
  }
  for (const VerticalMark& mark : chart.marks) {
    LegendEntry entry{mark.name, fmt::format("<path d=\"M12,-7v14\" {}/>", stroke_of(mark))};
    const auto is_same = [&](const LegendEntry& e) { return e.name == entry.name && e.symbol == entry.symbol; };
    if (std::ranges::none_of(entries, is_same)) entries.push_back(std::move(entry));
  }
  return entries;
}

// Beside the curves a line each; above them as many in a line as there is room for. Returns the number of lines.
Index place_legend(const std::vector<LegendEntry>& entries, const Frame& frame, ChartForm form, std::string& out) {
  double x = form == ChartForm::wide ? frame.width - frame.right + 16.0 : 12.0;
  double y = 40.0 + (form == ChartForm::wide ? 20.0 : 0.0);
  const double first = x;
  Index lines = 1;
  for (const LegendEntry& entry : entries) {
    const double width = 30.0 + text_width(entry.name) + 14.0;
    if (form == ChartForm::compact && x > first && x + width > frame.width) {
      x = first;
      y += legend_line;
      ++lines;
    }
    out += fmt::format("<g transform=\"translate({:.1f},{:.1f})\">{}</g>\n", x, y, entry.symbol);
    out += text_at(x + 30.0, y + 4.0, "start", entry.name);
    if (form == ChartForm::wide) {
      y += 20.0;
    } else {
      x += width;
    }
  }
  return lines;
}

// The curves' points one above the other: what is drawn of a stacked chart.
std::vector<Curve> stacked_up(std::vector<Curve> curves) {
  for (std::size_t c = 1; c < curves.size(); ++c) {
    invariant(curves[c].points.size() == curves[0].points.size(), "{} and {} points in one stack",
              curves[c].points.size(), curves[0].points.size());
    for (std::size_t i = 0; i < curves[c].points.size(); ++i) curves[c].points[i].y += curves[c - 1].points[i].y;
  }
  return curves;
}

struct Extent {
  double least = HUGE_VAL;
  double most = -HUGE_VAL;
  void add(double value) {
    invariant(std::isfinite(value), "{} in a picture", value);
    least = std::min(least, value);
    most = std::max(most, value);
  }
};

Axis axis_of(const LineChart& chart, const std::vector<Curve>& curves, bool is_x, double begin, double end) {
  Extent extent;
  for (const Curve& curve : curves) {
    for (const Point& point : curve.points) extent.add(is_x ? point.x : point.y);
    for (const Spread& spread : curve.band) {
      extent.add(is_x ? spread.x : spread.low);
      extent.add(is_x ? spread.x : spread.high);
    }
  }
  const Scale scale = is_x ? chart.x_scale : chart.y_scale;
  if (is_x) {
    for (const VerticalMark& mark : chart.marks) extent.add(mark.x);
  } else if (scale == Scale::linear && (chart.y_from_zero || chart.stacked)) {
    extent.add(0.0);
  }
  return {scale, is_x ? Ends::as_given : Ends::at_ticks, extent.least, extent.most, begin, end};
}

std::string path_of(const std::vector<Point>& points, const Axis& x, const Axis& y) {
  std::string line;
  for (const Point& point : points) {
    line += fmt::format("{}{:.1f},{:.1f}", line.empty() ? "M" : "L", x.place(point.x), y.place(point.y));
  }
  return line;
}

// From low to high, and back.
std::string area(const std::vector<Spread>& band, const Axis& x, const Axis& y, const std::string& fill) {
  if (band.empty()) return "";
  std::vector<Point> outline;
  for (const Spread& spread : band) outline.push_back({spread.x, spread.high});
  for (auto spread = band.rbegin(); spread != band.rend(); ++spread) outline.push_back({spread->x, spread->low});
  return fmt::format("<path d=\"{}Z\" {}/>\n", path_of(outline, x, y), fill);
}

std::string drawn(const Curve& curve, std::string_view colour, const Axis& x, const Axis& y) {
  std::string out = area(curve.band, x, y, fmt::format("fill=\"{}\" fill-opacity=\"0.2\"", colour));
  if (!curve.only_marks && !curve.points.empty()) {
    out += fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{}/>\n",
                       path_of(curve.points, x, y), colour, dashes(curve.dashed));
  }
  // A line through one point is nothing to be seen.
  if (curve.dashed || (curve.only_line && curve.points.size() > 1)) return out;
  for (const Point& point : curve.points) {
    out += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" fill=\"{}\"/>\n", x.place(point.x),
                       y.place(point.y), colour);
  }
  return out;
}

std::string drawn_stack(const LineChart& chart, const std::vector<Curve>& curves, const Axis& x, const Axis& y) {
  std::string out;
  for (std::size_t c = 0; c < curves.size(); ++c) {
    std::vector<Spread> band;
    for (std::size_t i = 0; i < curves[c].points.size(); ++i) {
      const Point& point = curves[c].points[i];
      band.push_back({point.x, c == 0 ? 0.0 : curves[c - 1].points[i].y, point.y});
    }
    const std::string_view colour = colour_of(colour_index(chart, c));
    // A single step has no width: a thick line stands for it.
    const std::string_view stroke = band.size() == 1 ? "12" : "0.5";
    out += area(band, x, y, fmt::format("fill=\"{0}\" stroke=\"{0}\" stroke-width=\"{1}\"", colour, stroke));
  }
  return out;
}

Frame frame_of(const LineChart& chart, const std::vector<LegendEntry>& legend) {
  if (chart.form == ChartForm::wide) return {720.0, 480.0, 70.0, 150.0, 40.0, 60.0};
  Frame frame{480.0, 0.0, 58.0, 16.0, 0.0, 44.0};
  std::string unused;
  const Index lines = legend.empty() ? 0 : place_legend(legend, frame, chart.form, unused);
  frame.top = (lines == 0 ? 46.0 : 60.0) + legend_line * static_cast<double>(lines);  // the y label stands between
  frame.height = frame.top + 220.0 + frame.bottom;
  return frame;
}

}  // namespace

std::string svg_text(const LineChart& chart) {
  const std::vector<LegendEntry> legend = legend_of(chart);
  const Frame frame = frame_of(chart, legend);
  const std::vector<Curve> curves = chart.stacked ? stacked_up(chart.curves) : chart.curves;
  const Axis x = axis_of(chart, curves, true, frame.left, frame.width - frame.right);
  const Axis y = axis_of(chart, curves, false, frame.height - frame.bottom, frame.top);
  std::string out = svg_begin(frame.width, frame.height, chart.title) + grid(x, y);
  const bool is_wide = chart.form == ChartForm::wide;
  out += text_at(is_wide ? 0.5 * (x.begin() + x.end()) : 0.5 * frame.width, 22.0, "middle", chart.title);
  out += text_at(0.5 * (x.begin() + x.end()), frame.height - (is_wide ? 16.0 : 8.0), "middle", chart.x_label);
  out += is_wide ? text_at(x.begin() - 8.0, frame.top - 8.0, "end", chart.y_label)
                 : text_at(12.0, frame.top - 12.0, "start", chart.y_label);
  if (chart.stacked) out += drawn_stack(chart, curves, x, y);
  for (const VerticalMark& mark : chart.marks) {
    out +=
        fmt::format("<path d=\"M{:.1f},{:.1f}V{:.1f}\" {}/>\n", x.place(mark.x), y.begin(), y.end(), stroke_of(mark));
  }
  for (std::size_t i = 0; i < curves.size() && !chart.stacked; ++i) {
    out += drawn(curves[i], colour_of(colour_index(chart, i)), x, y);
  }
  place_legend(legend, frame, chart.form, out);
  return out + "</svg>\n";
}

}  // namespace conclave::apps
