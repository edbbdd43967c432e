// SPDX-License-Identifier: BSD-3-Clause
#include "apps/line_chart.hpp"

#include "runtime/core/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace conclave::apps {
namespace {

constexpr double width = 720.0;
constexpr double height = 480.0;
constexpr double left = 70.0;  // margins, in which the labels stand
constexpr double right = 150.0;
constexpr double top = 40.0;
constexpr double bottom = 60.0;
constexpr std::array<const char*, 6> colours{"#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b"};

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else {
      out += c;
    }
  }
  return out;
}

std::string text_at(double x, double y, const std::string& anchor, const std::string& text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor, escaped(text));
}

/// One axis: whole powers of two, and where on the picture a number lies.
struct Axis {
  double low, high;   // exponents
  double begin, end;  // places on the picture

  [[nodiscard]] double place(double value) const {
    return begin + (std::log2(value) - low) / (high - low) * (end - begin);
  }
};

Axis axis_of(const LineChart& chart, double Point::*coordinate, double begin, double end) {
  double least = HUGE_VAL;
  double most = -HUGE_VAL;
  for (const Curve& curve : chart.curves) {
    for (const Point& point : curve.points) {
      invariant(point.*coordinate > 0.0, "{} on a logarithmic axis", point.*coordinate);
      least = std::min(least, std::floor(std::log2(point.*coordinate)));
      most = std::max(most, std::ceil(std::log2(point.*coordinate)));
    }
  }
  return {least, std::max(most, least + 1.0), begin, end};
}

std::string grid(const Axis& x, const Axis& y) {
  std::string out;
  for (double e = x.low; e <= x.high; ++e) {
    const double at = x.place(std::exp2(e));
    out += fmt::format("<path d=\"M{0:.1f},{1:.1f}V{2:.1f}\" stroke=\"#ddd\"/>\n", at, y.begin, y.end);
    out += text_at(at, y.begin + 18.0, "middle", fmt::format("{:g}", std::exp2(e)));
  }
  for (double e = y.low; e <= y.high; ++e) {
    const double at = y.place(std::exp2(e));
    out += fmt::format("<path d=\"M{0:.1f},{1:.1f}H{2:.1f}\" stroke=\"#ddd\"/>\n", x.begin, at, x.end);
    out += text_at(x.begin - 8.0, at + 4.0, "end", fmt::format("{:g}", std::exp2(e)));
  }
  return out;
}

std::string drawn(const Curve& curve, const Axis& x, const Axis& y, const char* colour) {
  std::string line;
  std::string marks;
  for (const Point& point : curve.points) {
    const double px = x.place(point.x);
    const double py = y.place(point.y);
    line += fmt::format("{}{:.1f},{:.1f}", line.empty() ? "M" : "L", px, py);
    if (!curve.dashed)
      marks += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" fill=\"{}\"/>\n", px, py, colour);
  }
  if (curve.only_marks) return marks;
  return fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{}/>\n{}", line, colour,
                     curve.dashed ? " stroke-dasharray=\"6 4\"" : "", marks);
}

}  // namespace

std::string svg_text(const LineChart& chart) {
  const Axis x = axis_of(chart, &Point::x, left, width - right);
  const Axis y = axis_of(chart, &Point::y, height - bottom, top);
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" font-family=\"sans-serif\" font-size=\"13\">\n"
      "<rect width=\"{0}\" height=\"{1}\" fill=\"white\"/>\n",
      width, height);
  out += grid(x, y);
  out += text_at(0.5 * (x.begin + x.end), 22.0, "middle", chart.title);
  out += text_at(0.5 * (x.begin + x.end), height - 16.0, "middle", chart.x_label);
  out += text_at(x.begin - 8.0, top - 8.0, "end", chart.y_label);
  for (std::size_t i = 0; i < chart.curves.size(); ++i) {
    const char* colour = colours[i % colours.size()];
    const double at = top + 20.0 * static_cast<double>(i + 1);
    out += drawn(chart.curves[i], x, y, colour);
    if (chart.curves[i].only_marks) {
      out += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" fill=\"{}\"/>\n", x.end + 28.0, at, colour);
    } else {
      out += fmt::format("<path d=\"M{:.1f},{:.1f}h24\" stroke=\"{}\" stroke-width=\"2\"{}/>\n", x.end + 16.0, at,
                         colour, chart.curves[i].dashed ? " stroke-dasharray=\"6 4\"" : "");
    }
    out += text_at(x.end + 46.0, at + 4.0, "start", chart.curves[i].name);
  }
  return out + "</svg>\n";
}

}  // namespace conclave::apps
