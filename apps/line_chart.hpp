// SPDX-License-Identifier: BSD-3-Clause
// A picture of some curves, as SVG.
#pragma once

#include <string>
#include <vector>

namespace conclave::apps {

struct Point {
  double x = 0.0;
  double y = 0.0;
};

struct Curve {
  std::string name;
  std::vector<Point> points;
  bool dashed = false;
  bool only_marks = false;  // points that no line joins
};

/// Both axes are logarithmic, with a tick at each power of two; all numbers are above 0.
struct LineChart {
  std::string title;
  std::string x_label;
  std::string y_label;
  std::vector<Curve> curves;
};

[[nodiscard]] std::string svg_text(const LineChart& chart);

}  // namespace conclave::apps
