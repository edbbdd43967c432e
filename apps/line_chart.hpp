// SPDX-License-Identifier: BSD-3-Clause
// A picture of some curves, as SVG.
#pragma once

#include "apps/svg.hpp"

#include <optional>
#include <string>
#include <vector>

namespace conclave::apps {

struct Point {
  double x = 0.0;
  double y = 0.0;
};

/// What a point stands for, where it stands for many numbers: from the least to the largest.
struct Spread {
  double x = 0.0;
  double low = 0.0;
  double high = 0.0;
};

struct Curve {
  std::string name;
  std::vector<Point> points;
  bool dashed = false;
  bool only_marks = false;              // points that no line joins
  bool only_line = false;               // no marks at the points
  std::vector<Spread> band{};           // drawn behind the curve; rising x
  std::optional<std::size_t> colour{};  // for colour_of(); none: by the curve's place
};

/// Something that happened at a place of the x axis.
struct VerticalMark {
  double x = 0.0;
  std::string name;                     // in the legend, once for all marks of that name and colour
  bool dashed = false;                  // and stronger
  std::optional<std::size_t> colour{};  // none: grey
};

enum class ChartForm {
  wide,     // the legend stands beside the curves
  compact,  // smaller, the legend above the curves: for pages that a telephone shows too
};

/// All numbers are finite, and above 0 where the axis is logarithmic. At least one curve has a point.
struct LineChart {
  std::string title;
  std::string x_label;
  std::string y_label;
  std::vector<Curve> curves;
  Scale x_scale = Scale::powers_of_two;
  Scale y_scale = Scale::powers_of_two;
  bool y_from_zero = false;  // the linear y axis begins at 0
  bool stacked = false;      // the curves, at the same x all of them, are areas one above the other; y_from_zero
  std::vector<VerticalMark> marks{};
  ChartForm form = ChartForm::wide;
};

[[nodiscard]] std::string svg_text(const LineChart& chart);

}  // namespace conclave::apps
