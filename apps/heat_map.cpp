// SPDX-License-Identifier: BSD-3-Clause
#include "apps/heat_map.hpp"

#include "runtime/core/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

namespace conclave::apps {
namespace {

constexpr double width = 480.0;
constexpr double right = 16.0;
constexpr double top = 78.0;
constexpr double bottom = 44.0;
constexpr double gap = 8.0;   // between strips
constexpr Index levels = 33;  // of colour: odd, so that the middle is one

struct Colour {
  double red, green, blue;
};

Colour mixed(const Colour& a, const Colour& b, double share_of_b) {
  const auto mix = [&](double x, double y) { return x + (y - x) * share_of_b; };
  return {mix(a.red, b.red), mix(a.green, b.green), mix(a.blue, b.blue)};
}

constexpr Colour white{250, 250, 250};

std::string colour_of_level(HeatMap::Colours colours, Index level) {
  const double share = static_cast<double>(level) / static_cast<double>(levels - 1);
  const Colour colour = colours == HeatMap::Colours::from_zero ? mixed(white, {120, 15, 60}, share)
                        : share < 0.5                          ? mixed({25, 70, 160}, white, 2.0 * share)
                                                               : mixed(white, {175, 20, 30}, 2.0 * share - 1.0);
  return fmt::format("#{:02x}{:02x}{:02x}", std::lround(colour.red), std::lround(colour.green),
                     std::lround(colour.blue));
}

// Where a value lies between the first and the last colour.
double share_of(HeatMap::Colours colours, double value, double most) {
  if (colours == HeatMap::Colours::from_zero) return most > 0.0 ? std::clamp(value / most, 0.0, 1.0) : 0.0;
  return value <= 0.0 ? 0.0 : std::clamp(0.5 + 0.25 * std::log2(value), 0.0, 1.0);
}

// A path for each colour, of runs of cells: a small fraction of what a rectangle for each cell takes.
std::string cells(const HeatStrip& strip, HeatMap::Colours colours, double most) {
  std::map<Index, std::string> path_of_level;
  const auto level = [&](Index row, Index column) {
    const double value = strip.values[static_cast<std::size_t>(row * strip.columns + column)];
    if (std::isnan(value)) return Index{-1};
    return static_cast<Index>(std::lround(share_of(colours, value, most) * static_cast<double>(levels - 1)));
  };
  for (Index row = 0; row < strip.rows; ++row) {
    for (Index begin = 0, end = 0; begin < strip.columns; begin = end) {
      const Index here = level(row, begin);
      for (end = begin + 1; end < strip.columns && level(row, end) == here;) ++end;
      if (here >= 0) path_of_level[here] += fmt::format("M{},{}.5h{}", begin, row, end - begin);
    }
  }
  std::string out;
  for (const auto& [here, path] : path_of_level) {
    out += fmt::format("<path stroke=\"{}\" d=\"{}\"/>\n", colour_of_level(colours, here), path);
  }
  return out;
}

// Where the cells begin: right of the strips' names.
double left_of(const HeatMap& map) {
  double widest = 42.0;
  for (const HeatStrip& strip : map.strips) widest = std::max(widest, text_width(strip.name));
  return widest + 16.0;
}

double height_of(const HeatMap& map, const HeatStrip& strip) {
  if (map.square) return width - left_of(map) - right;
  constexpr double of_a_row = 8.0;
  return std::clamp(of_a_row * static_cast<double>(strip.rows), 24.0, 160.0);
}

// Whether there are values beyond the last colour.
bool is_cut(const HeatMap& map) {
  const auto is_beyond = [&](double value) { return value > map.most; };
  return map.most > 0.0 && std::ranges::any_of(map.strips, [&](const HeatStrip& strip) {
           return std::ranges::any_of(strip.values, is_beyond);
         });
}

// The colours from the first to the last, with what they mean.
std::string key(const HeatMap& map, double most) {
  std::string out;
  constexpr double begin = 130.0;
  constexpr double span = 180.0;
  const double cell = span / static_cast<double>(levels);
  for (Index level = 0; level < levels; ++level) {
    out += fmt::format("<rect x=\"{:.2f}\" y=\"34\" width=\"{:.2f}\" height=\"10\" fill=\"{}\"/>\n",
                       begin + cell * static_cast<double>(level), cell + 0.3, colour_of_level(map.colours, level));
  }
  const bool around_one = map.colours == HeatMap::Colours::around_one;
  out += text_at(begin - 8.0, 44.0, "end", around_one ? "1/4 or less" : "0");
  out += text_at(begin + span + 8.0, 44.0, "start",
                 around_one ? "4 or more" : tick_text(most) + (is_cut(map) ? " or more" : ""));
  return out + text_at(begin + 0.5 * span, 60.0, "middle", map.value_label);
}

std::string strip_text(const HeatMap& map, const HeatStrip& strip, double y, double most) {
  const double height = height_of(map, strip);
  const double left = left_of(map);
  std::string out = fmt::format(
      "<g transform=\"translate({:.1f},{:.1f}) scale({:.5f},{:.5f})\" shape-rendering=\"crispEdges\">\n{}</g>\n", left,
      y, (width - left - right) / static_cast<double>(strip.columns), height / static_cast<double>(strip.rows),
      cells(strip, map.colours, most));
  out += fmt::format(
      "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"none\" stroke=\"#bbb\"/>\n", left, y,
      width - left - right, height);
  return out + text_at(left - 8.0, y + 0.5 * height + 4.0, "end", strip.name);
}

}  // namespace

std::string svg_text(const HeatMap& map) {
  double most = map.most;
  const double left = left_of(map);
  double height = top + bottom - gap;
  for (const HeatStrip& strip : map.strips) {
    invariant(strip.rows > 0 && strip.columns > 0 && std::ssize(strip.values) == strip.rows * strip.columns,
              "{} values of {} x {} cells", strip.values.size(), strip.rows, strip.columns);
    height += height_of(map, strip) + gap;
    for (const double value : strip.values) {
      if (map.most == 0.0 && value > most) most = value;
    }
  }
  std::string out = svg_begin(width, height, map.title) + text_at(0.5 * width, 22.0, "middle", map.title);
  out += key(map, most);
  const Axis x(Scale::linear, Ends::as_given, map.first, map.last, left, width - right);
  for (const double tick : x.ticks()) {
    if (tick != std::round(tick)) continue;  // steps and ranks are whole numbers
    out += fmt::format("<path d=\"M{:.1f},{:.1f}v4\" stroke=\"#555\"/>\n", x.place(tick), height - bottom);
    out += text_at(x.place(tick), height - bottom + 18.0, "middle", tick_text(tick));
    if (!map.square) continue;
    const double y = top + x.place(tick) - left;
    out += fmt::format("<path d=\"M{:.1f},{:.1f}h-4\" stroke=\"#555\"/>\n", left, y);
    out += text_at(left - 8.0, y + 4.0, "end", tick_text(tick));
  }
  double y = top;
  for (const HeatStrip& strip : map.strips) {
    out += strip_text(map, strip, y, most);
    y += height_of(map, strip) + gap;
  }
  for (const double mark : map.marks) {
    out += fmt::format(
        "<path d=\"M{:.1f},{:.1f}V{:.1f}\" stroke=\"#222\" stroke-width=\"1.5\" stroke-dasharray=\"6 4\"/>\n",
        x.place(mark), top, height - bottom);
  }
  out += text_at(12.0, top - 8.0, "start", map.y_label);
  return out + text_at(0.5 * (left + width - right), height - 8.0, "middle", map.x_label) + "</svg>\n";
}

}  // namespace conclave::apps
