// SPDX-License-Identifier: BSD-3-Clause
// A picture of numbers as coloured cells, as SVG.
#pragma once

#include "apps/svg.hpp"
#include "runtime/core/ids.hpp"

#include <string>
#include <vector>

namespace conclave::apps {

/// Cells below one another: [rows, columns], in row order, row 0 at the top; not a number: an empty cell.
struct HeatStrip {
  std::string name;
  Index rows = 0;
  Index columns = 0;
  std::vector<double> values;
};

/// Strips of as many columns one below the other, with one x axis from `first` to `last`.
struct HeatMap {
  enum class Colours {
    around_one,  // blue below 1, white at 1, red above; by the logarithm, from a quarter to four
    from_zero,   // white to dark, from 0 to the largest value
  };
  std::string title;
  std::string x_label;
  std::string y_label;
  std::string value_label;  // what the colours mean
  double first = 0.0;
  double last = 0.0;
  std::vector<HeatStrip> strips{};
  Colours colours = Colours::around_one;
  std::vector<double> marks{};  // vertical lines at these x
  bool square = false;          // strips are as high as they are wide, and y is numbered as x is
  double most = 0.0;            // of the last colour from_zero; 0: the largest value
};

[[nodiscard]] std::string svg_text(const HeatMap& map);

}  // namespace conclave::apps
