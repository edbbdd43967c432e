// SPDX-License-Identifier: BSD-3-Clause
// What all pictures are made of: text, colours and axes of SVG.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::apps {

/// Any bytes as text within HTML or XML, in elements and in quoted attributes: marks are escaped, and what is no
/// character of XML (control characters, bytes that are no UTF-8) is shown as U+FFFD.
[[nodiscard]] std::string markup_text(std::string_view text);

/// A number as the label of a tick: "0.25", "120", "16k", "2.5M".
[[nodiscard]] std::string tick_text(double value);

/// The colour of the i-th thing; they repeat.
[[nodiscard]] std::string_view colour_of(std::size_t i);

/// A text element; anchor is "start", "middle" or "end".
[[nodiscard]] std::string text_at(double x, double y, std::string_view anchor, std::string_view text);

/// How wide a text of the pictures' font is, about: letters differ, and so do fonts.
[[nodiscard]] double text_width(std::string_view text);

/// The element that a picture of this size begins with, on white; it ends with "</svg>\n".
[[nodiscard]] std::string svg_begin(double width, double height, std::string_view title);

enum class Scale { powers_of_two, linear };
/// Where a linear axis ends: at a tick, or at the outermost numbers.
enum class Ends { at_ticks, as_given };

/// One axis: from where to where its numbers go, and where on the picture a number lies.
class Axis {
 public:
  /// Holds the numbers from `least` to `most`; a logarithmic one begins and ends with a tick. `begin`, `end`: places on
  /// the picture. InvariantError for numbers that are not finite, and on a logarithmic scale for those that are not
  /// above 0.
  Axis(Scale scale, Ends ends, double least, double most, double begin, double end);

  [[nodiscard]] double place(double value) const;
  [[nodiscard]] const std::vector<double>& ticks() const { return ticks_; }
  [[nodiscard]] double begin() const { return begin_; }
  [[nodiscard]] double end() const { return end_; }

 private:
  Scale scale_;
  double low_ = 0.0;  // at the ends; exponents, if logarithmic
  double high_ = 1.0;
  double begin_, end_;
  std::vector<double> ticks_;
};

/// Lines and labels at the ticks of both axes.
[[nodiscard]] std::string grid(const Axis& x, const Axis& y);

}  // namespace conclave::apps
