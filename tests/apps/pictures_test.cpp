// SPDX-License-Identifier: BSD-3-Clause
// Pictures: what is drawn lies where its numbers say, and no text breaks out of its element.
#include "apps/heat_map.hpp"
#include "apps/line_chart.hpp"
#include "runtime/core/error.hpp"

#include <gmock/gmock.h>

#include <cmath>

namespace conclave::apps {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(MarkupText, ShowsAnyBytesAsTheyAre) {
  EXPECT_EQ(markup_text("a<b> & \"c\" 'd'"), "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;");
  EXPECT_EQ(markup_text("\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80 tab\tline\n"),
            "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80 tab\tline\n");
  const std::string no = "\xEF\xBF\xBD";
  EXPECT_EQ(markup_text(std::string("a\0b", 3)), "a" + no + "b");
  EXPECT_EQ(markup_text("\x1B[31m\x7F"), no + "[31m\x7F");
  EXPECT_EQ(markup_text("\xC0\xAF"), no + no) << "a longer form of '/'";
  EXPECT_EQ(markup_text("\xED\xA0\x80"), no + no + no) << "half of a pair";
  EXPECT_EQ(markup_text("\xF5\x80\x80\x80"), no + no + no + no) << "beyond the last character";
  EXPECT_EQ(markup_text("end\xE2\x82"), "end" + no + no) << "cut off";
  EXPECT_EQ(markup_text("\xEF\xBF\xBF"), no + no + no) << "no character of XML";
}

TEST(TickText, IsShort) {
  EXPECT_EQ(tick_text(0.25), "0.25");
  EXPECT_EQ(tick_text(2000), "2000");
  EXPECT_EQ(tick_text(16000), "16k");
  EXPECT_EQ(tick_text(-2.5e6), "-2.5M");
  EXPECT_EQ(tick_text(3e9), "3G");
  EXPECT_EQ(tick_text(0.0001), "0.0001");
  EXPECT_EQ(tick_text(-0.0), "0");
  EXPECT_EQ(tick_text(1.0 / 256), "0.00391");
}

TEST(Axis, EndsAtTicksOrAtItsNumbers) {
  const Axis at_ticks(Scale::linear, Ends::at_ticks, 1.3, 8.9, 0.0, 300.0);
  EXPECT_EQ(at_ticks.ticks().front(), 0.0);
  EXPECT_EQ(at_ticks.ticks().back(), 10.0);
  EXPECT_NEAR(at_ticks.place(5.0), 150.0, 1e-9);
  const Axis as_given(Scale::linear, Ends::as_given, 1.0, 9.0, 0.0, 300.0);
  EXPECT_NEAR(as_given.place(1.0), 0.0, 1e-9);
  EXPECT_NEAR(as_given.place(9.0), 300.0, 1e-9);
  EXPECT_GE(as_given.ticks().front(), 1.0);
  EXPECT_LE(as_given.ticks().back(), 9.0);
  for (const double only : {0.0, 3.0, -1e9, 1e-300}) {
    const Axis one(Scale::linear, Ends::at_ticks, only, only, 0.0, 300.0);
    EXPECT_GE(one.place(only), 0.0) << only;
    EXPECT_LE(one.place(only), 300.0) << only;
    EXPECT_LT(one.ticks().size(), 20U) << only;
  }
  EXPECT_THROW(Axis(Scale::linear, Ends::at_ticks, NAN, 1.0, 0.0, 1.0), InvariantError);
  EXPECT_THROW(Axis(Scale::powers_of_two, Ends::at_ticks, 0.0, 1.0, 0.0, 1.0), InvariantError);
}

LineChart compact(std::vector<Curve> curves) {
  return {.title = "T",
          .x_label = "x",
          .y_label = "y",
          .curves = std::move(curves),
          .x_scale = Scale::linear,
          .y_scale = Scale::linear,
          .form = ChartForm::compact};
}

TEST(LineChart, DrawsBandsAndMarksOnLinearAxes) {
  LineChart chart = compact(
      {{.name = "c", .points = {{0, 0}, {10, 10}}, .only_line = true, .band = {{0, 0, 0}, {10, 5, 10}}, .colour = 2}});
  chart.marks = {{5, "restart", true, {}}, {7, "restart", true, {}}, {2, "checkpoint", false, {}}};
  const std::string svg = svg_text(chart);
  // The plot goes from x = 58 to 464 and, below two lines of head and one of legend, from y = 298 to 78.
  EXPECT_THAT(svg, HasSubstr("<path d=\"M58.0,298.0L464.0,78.0\" fill=\"none\" stroke=\"#2ca02c\""));
  EXPECT_THAT(svg, HasSubstr("<path d=\"M58.0,298.0L464.0,78.0L464.0,188.0L58.0,298.0Z\" fill=\"#2ca02c\""));
  EXPECT_THAT(svg, HasSubstr("<path d=\"M261.0,298.0V78.0\"")) << "half way";
  EXPECT_THAT(svg, Not(HasSubstr("circle"))) << "a line without marks";
  const auto count = [&](const std::string& part) {
    Index n = 0;
    for (std::size_t at = svg.find(part); at != std::string::npos; at = svg.find(part, at + 1)) ++n;
    return n;
  };
  EXPECT_EQ(count(">restart<"), 1) << "once in the legend";
  EXPECT_EQ(count(">checkpoint<"), 1);
}

TEST(LineChart, StacksAreasOneAboveTheOther) {
  LineChart chart = compact({{.name = "a", .points = {{0, 4}, {1, 4}}}, {.name = "b", .points = {{0, 6}, {1, 1}}}});
  chart.stacked = true;
  const std::string svg = svg_text(chart);
  // Of 10 in all: 4 are from y = 298 to 210, 10 up to 78, and 5 up to 188.
  EXPECT_THAT(svg, HasSubstr("<path d=\"M58.0,210.0L464.0,210.0L464.0,298.0L58.0,298.0Z\" fill=\"#1f77b4\""));
  EXPECT_THAT(svg, HasSubstr("<path d=\"M58.0,78.0L464.0,188.0L464.0,210.0L58.0,210.0Z\" fill=\"#d62728\""));
  chart.curves[1].points.pop_back();
  EXPECT_THROW(static_cast<void>(svg_text(chart)), InvariantError);
}

TEST(LineChart, BreaksALegendThatIsTooLong) {
  std::vector<Curve> curves;
  for (int i = 0; i < 12; ++i)
    curves.push_back({.name = "a name of some length", .points = {{0.0, 1.0 * i}, {1.0, 2.0}}});
  const std::string svg = svg_text(compact(curves));
  EXPECT_THAT(svg, HasSubstr("viewBox=\"0 0 480 432\"")) << "six lines of two";
}

TEST(HeatMap, ColoursCellsByTheirLogarithmAroundOne) {
  HeatMap map{.title = "<map>", .x_label = "steps", .y_label = "layer", .value_label = "load", .first = 0, .last = 4};
  map.strips = {{"0", 2, 4, {1, 1, 1, 1, 4, 4, 0.25, NAN}}};
  const std::string svg = svg_text(map);
  EXPECT_THAT(svg, HasSubstr("&lt;map&gt;"));
  EXPECT_THAT(svg, HasSubstr("<path stroke=\"#fafafa\" d=\"M0,0.5h4\"/>")) << "one is white, and a run one stroke";
  EXPECT_THAT(svg, HasSubstr("<path stroke=\"#af141e\" d=\"M0,1.5h2\"/>")) << "four is the last red";
  EXPECT_THAT(svg, HasSubstr("<path stroke=\"#1946a0\" d=\"M2,1.5h1\"/>")) << "a quarter is the first blue";
  EXPECT_THAT(svg, Not(HasSubstr("M3,1.5"))) << "no number, no cell";
}

TEST(HeatMap, ColoursCellsFromZeroToTheLargest) {
  HeatMap map{.title = "t", .x_label = "", .y_label = "", .value_label = "rows", .first = 0, .last = 2};
  map.strips = {{"", 1, 2, {0, 50}}};
  map.colours = HeatMap::Colours::from_zero;
  EXPECT_THAT(svg_text(map), HasSubstr("<path stroke=\"#fafafa\" d=\"M0,0.5h1\"/>"));
  EXPECT_THAT(svg_text(map), HasSubstr("<path stroke=\"#780f3c\" d=\"M1,0.5h1\"/>"));
  map.most = 25.0;
  EXPECT_THAT(svg_text(map), HasSubstr(">25 or more<"));
  map.strips[0].values[1] = 12.5;
  EXPECT_THAT(svg_text(map), HasSubstr(">25<"));
  EXPECT_THAT(svg_text(map), Not(HasSubstr("#780f3c\" d="))) << "half of the most is no last colour";
  map.strips[0].values.pop_back();
  EXPECT_THROW(static_cast<void>(svg_text(map)), InvariantError);
}

}  // namespace
}  // namespace conclave::apps
